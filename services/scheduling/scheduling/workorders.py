"""Taking a file of interventions in: each row is a command, decided like any other.

A new reference is created; one that exists gets the details that differ. What cannot be changed of an intervention (kind,
site, equipment) is a fault of its row. The frame (one transaction, modes, report) is intake.py's.
"""

from collections.abc import Sequence
from dataclasses import replace

from scheduling import places
from scheduling.commands import ChangeDetails, CreateIntervention
from scheduling.desk import Desk, Sitting
from scheduling.domain import Known, NotThere
from scheduling.ids import id_of
from scheduling.imports import InterventionRow, read_interventions
from scheduling.intake import Mode, Outcome, Report, Taken, conclude
from scheduling.values import Change, Details, Identity, Wish
from zb_chassis.csvtable import Fault
from zb_contracts.problems import Problem


async def import_interventions(desk: Desk, agency: str, actor: str | None, data: bytes, mode: Mode) -> Report:
    """Take a file of interventions. Problem INPUT_ROWS in `all-or-nothing` with a bad row; sites must be there."""
    parsed = read_interventions(data)
    async with desk.sitting(agency, actor) as sitting:
        sites = await places.load_sites(sitting.connection, agency, [row.site_reference for row in parsed.good])
        named = [row.equipment_reference for row in parsed.good if row.equipment_reference]
        equipment = await places.load_equipment(sitting.connection, agency, named)
        taken: list[Taken] = []
        faults: list[Fault] = []
        for row in parsed.good:
            identity = _identity(agency, row, sites, equipment)
            if isinstance(identity, Fault):
                faults.append(identity)
                continue
            result = await _take(sitting, identity, row)
            if isinstance(result, Taken):
                taken.append(result)
            else:
                faults.extend(result)
        return conclude(parsed, taken, faults, mode)


def _identity(
    agency: str,
    row: InterventionRow,
    sites: dict[str, places.SiteRecord],
    equipment: dict[str, places.EquipmentRecord],
) -> Identity | Fault:
    site = sites.get(row.site_reference)
    if site is None:
        return Fault(row.row, "site_reference", "there is no such site", row.site_reference)
    machine = equipment.get(row.equipment_reference) if row.equipment_reference else None
    if row.equipment_reference and machine is None:
        return Fault(row.row, "equipment_reference", "there is no such equipment", row.equipment_reference)
    if machine is not None and machine.site != site.id:
        return Fault(row.row, "equipment_reference", "stands at another site", machine.reference)
    return Identity(
        intervention=id_of("intervention", agency, row.reference),
        agency=agency,
        reference=row.reference,
        kind=row.kind,
        site=site.id,
        equipment=machine.id if machine else None,
    )


async def _take(sitting: Sitting, identity: Identity, row: InterventionRow) -> Taken | Sequence[Fault]:
    state = await sitting.load(identity.intervention)
    try:
        if isinstance(state.office, NotThere):
            command = CreateIntervention(identity=identity, details=_details(row), wish=_wish(row, Wish()), at_ms=sitting.now_ms)
            await sitting.decide(identity.intervention, command)
            return Taken(row.row, row.reference, identity.intervention, "created")
        faults = _contradictions(row, identity, state.office)
        if faults:
            return faults
        edit = ChangeDetails(version=state.version, change=_change(row), wish=_wish(row, state.office.wish), at_ms=sitting.now_ms)
        after = await sitting.decide(identity.intervention, edit)
    except Problem as problem:
        return [Fault(row.row, "", str(problem))]
    outcome: Outcome = "unchanged" if after.version == state.version else "changed"
    return Taken(row.row, row.reference, identity.intervention, outcome)


def _contradictions(row: InterventionRow, said: Identity, office: Known) -> list[Fault]:
    there = office.identity
    pairs = (("kind", said.kind, there.kind), ("site_reference", said.site, there.site))
    faults = [Fault(row.row, column, f"exists with another content: {old}", new) for column, new, old in pairs if new != old]
    if said.equipment is not None and said.equipment != there.equipment:
        faults.append(Fault(row.row, "equipment_reference", "exists with another content", row.equipment_reference or ""))
    return faults


def _details(row: InterventionRow) -> Details:
    return Details(
        title=row.title,
        priority=row.priority,
        contract=row.contract,
        price_list=row.price_list,
        checklist=row.checklist,
        required_skills=row.required_skills,
    )


def _change(row: InterventionRow) -> Change:
    return Change(
        title=row.title,
        priority=row.priority,
        contract=row.contract,
        price_list=row.price_list,
        checklist=row.checklist,
        required_skills=row.required_skills or None,
    )


def _wish(row: InterventionRow, wish: Wish) -> Wish:
    """The wish with what the row says."""
    said = {
        "window_start_ms": row.window_start_ms,
        "window_end_ms": row.window_end_ms,
        "duration_min": row.duration_min,
    }
    return replace(wish, **{name: value for name, value in said.items() if value is not None})
