"""Taking an import in: what is new becomes an event, what is there already is left, what contradicts it is a fault.

One transaction a file. `all-or-nothing` takes it only when every row is good; `good-rows` takes the good ones and lists the
others. The same file twice changes nothing the second time. An empty cell says nothing about what is there. Personal values
(contact, access code) are sealed under a key of their site and never stored in clear.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from scheduling import places
from scheduling.authoring import Fact
from scheduling.custody.policy import Purpose
from scheduling.custody.records import Use
from scheduling.desk import Desk, Sitting
from scheduling.ids import id_of
from scheduling.imports import EquipmentRow, Import, SiteRow, read_equipment, read_sites
from scheduling.keys import fingerprint
from zb_chassis.csvtable import Fault
from zb_contracts.events.places import Address, EquipmentIdentified, EquipmentRegistered, SiteChanged, SiteRegistered
from zb_contracts.events.values import Position
from zb_contracts.problems import INPUT_ROWS, Problem
from zb_contracts.sealed import fresh_nonce, seal

Mode = Literal["all-or-nothing", "good-rows"]
Outcome = Literal["created", "changed", "unchanged"]

SITE_FIXED: Final = ("name", "street", "postcode", "town", "country")
SITE_OPEN: Final = ("notes", "location")
PERSONAL: Final = ("contact", "access_code")
EQUIPMENT_FIXED: Final = ("kind", "label", "location")
EQUIPMENT_OPEN: Final = ("manufacturer", "model", "serial", "year_built", "place")


@dataclass(frozen=True)
class Taken:
    """One good row and what became of it."""

    row: int
    reference: str
    id: str
    outcome: Outcome


@dataclass(frozen=True)
class Report:
    """What an import did: every good row with its outcome, every fault of the others."""

    total: int
    taken: tuple[Taken, ...]
    faults: tuple[Fault, ...]
    ignored_columns: tuple[str, ...]

    @property
    def bad(self) -> int:
        return len({fault.row for fault in self.faults})


async def import_sites(desk: Desk, agency: str, actor: str | None, data: bytes, mode: Mode) -> Report:
    """Take a file of sites. Problem INPUT_ROWS in `all-or-nothing` with a bad row, others of `input` for the file."""
    parsed = read_sites(data)
    async with desk.sitting(agency, actor) as sitting:
        return conclude(parsed, *await _take_sites(sitting, agency, parsed.good), mode)


async def import_equipment(desk: Desk, agency: str, actor: str | None, data: bytes, mode: Mode) -> Report:
    """Take a file of equipment, as above. Its sites must be there."""
    parsed = read_equipment(data)
    async with desk.sitting(agency, actor) as sitting:
        return conclude(parsed, *await _take_equipment(sitting, agency, parsed.good), mode)


def conclude(parsed: Import[Any], taken: Sequence[Taken], faults: Sequence[Fault], mode: Mode) -> Report:
    """The report; in `all-or-nothing` a fault undoes the whole by raising INPUT_ROWS."""
    by_reference = {each.reference: each for each in taken}
    again = [replace(by_reference[name], row=row, outcome="unchanged") for row, name in parsed.repeats if name in by_reference]
    lost = [
        Fault(row, "reference", "repeats a row that cannot be taken", name)
        for row, name in parsed.repeats
        if name not in by_reference
    ]
    found = tuple(sorted([*parsed.faults, *faults, *lost], key=lambda fault: (fault.row, fault.column)))
    good = tuple(sorted([*taken, *again], key=lambda each: each.row))
    report = Report(parsed.total, good, found, parsed.ignored_columns)
    if found and mode == "all-or-nothing":
        errors = tuple(fault.as_error() for fault in found)
        raise Problem(INPUT_ROWS, bad=report.bad, total=report.total, good=report.total - report.bad, errors=errors)
    return report


def contradictions(row: int, there: Mapping[str, Any], said: Mapping[str, Any], columns: Sequence[str]) -> list[Fault]:
    """Where a row says another value than what is there, in columns that no event can change."""
    return [
        Fault(row, column, f"exists with another content: {_shown(there.get(column))}", _shown(said[column]))
        for column in columns
        if said.get(column) is not None and said[column] != there.get(column)
    ]


async def _take_sites(sitting: Sitting, agency: str, rows: Sequence[SiteRow]) -> tuple[list[Taken], list[Fault]]:
    there = await places.load_sites(sitting.connection, agency, [row.reference for row in rows])
    known = await places.load_fingerprints(sitting.connection, [record.id for record in there.values()])
    taken, faults, written = [], [], []
    for row in rows:
        said = _site_content(row)
        record = there.get(row.reference)
        if record is None:
            record = places.SiteRecord(id_of("site", agency, row.reference), row.reference, said)
            await _register_site(sitting, agency, record.id, row)
            written.append(record)
            taken.append(Taken(row.row, row.reference, record.id, "created"))
            continue
        wrong = contradictions(row.row, record.content, said, SITE_FIXED)
        if wrong:
            faults.extend(wrong)
            continue
        change = _news(record.content, said, SITE_OPEN)
        personal = _new_personal(sitting, agency, record.id, row, known.get(record.id, {}))
        if change or personal:
            await _change_site(sitting, agency, record.id, change, personal)
            written.append(places.SiteRecord(record.id, row.reference, record.content | change))
        taken.append(Taken(row.row, row.reference, record.id, "changed" if change or personal else "unchanged"))
    await places.save_sites(sitting.connection, agency, written)
    return taken, faults


async def _register_site(sitting: Sitting, agency: str, site: str, row: SiteRow) -> None:
    event_id = sitting.new_id()
    body = SiteRegistered(
        reference=row.reference,
        name=row.name,
        agency=agency,
        address=Address(street=row.street, postcode=row.postcode, town=row.town, country=row.country),
        location=_position(row.location),
        notes=row.notes,
        **await _sealed(sitting, agency, site, event_id, _personal(row)),
    )
    sitting.add(Fact(event_id, f"site:{site}", body, sitting.now_ms))


async def _change_site(sitting: Sitting, agency: str, site: str, change: Mapping[str, Any], personal: dict[str, str]) -> None:
    event_id = sitting.new_id()
    sealed = await _sealed(sitting, agency, site, event_id, personal)
    body = SiteChanged(notes=change.get("notes"), location=_position(change.get("location")), **sealed)
    sitting.add(Fact(event_id, f"site:{site}", body, sitting.now_ms))


async def _sealed(sitting: Sitting, agency: str, site: str, event_id: str, values: dict[str, str]) -> dict[str, Any]:
    """Personal fields of a body, sealed under the site's key; nothing where there is nothing personal."""
    if not values:
        return {}
    vault, office = sitting.desk.vault, sitting.desk.keyring.office(agency)
    key = await vault.key(site, agency, Purpose.CONTACT, sitting.now_ms)
    # Noted first: should this transaction fail, the report names an event that never was, rather than none that is.
    await vault.note(key.kid, [Use(f"site:{site}", event_id, name) for name in values])
    sealed = {name: seal(key.key, key.kid, event_id, name, value, fresh_nonce()) for name, value in values.items()}
    records = [
        places.PersonalRecord(name, key.kid, fingerprint(office, site, name, value), event_id, sealed[name])
        for name, value in values.items()
    ]
    await places.save_personal(sitting.connection, site, records)
    return sealed


def _new_personal(sitting: Sitting, agency: str, site: str, row: SiteRow, known: Mapping[str, str]) -> dict[str, str]:
    office = sitting.desk.keyring.office(agency)
    return {name: value for name, value in _personal(row).items() if fingerprint(office, site, name, value) != known.get(name)}


def _personal(row: SiteRow) -> dict[str, str]:
    return {name: getattr(row, name) for name in PERSONAL if getattr(row, name) is not None}


def _site_content(row: SiteRow) -> dict[str, Any]:
    content = {name: getattr(row, name) for name in (*SITE_FIXED, "notes")}
    return content | {"location": list(row.location) if row.location else None}


async def _take_equipment(sitting: Sitting, agency: str, rows: Sequence[EquipmentRow]) -> tuple[list[Taken], list[Fault]]:
    sites = await places.load_sites(sitting.connection, agency, [row.site_reference for row in rows])
    there = await places.load_equipment(sitting.connection, agency, [row.reference for row in rows])
    taken, faults, written = [], [], []
    for row in rows:
        site = sites.get(row.site_reference)
        record = there.get(row.reference)
        wrong = _equipment_faults(row, site, record)
        if wrong or site is None:
            faults.extend(wrong)
            continue
        said = _equipment_content(row)
        if record is None:
            record = places.EquipmentRecord(id_of("equipment", agency, row.reference), row.reference, site.id, said)
            _register_equipment(sitting, record, row)
            written.append(record)
            taken.append(Taken(row.row, row.reference, record.id, "created"))
            continue
        change = _news(record.content, said, EQUIPMENT_OPEN)
        if change:
            fact = Fact(sitting.new_id(), f"equipment:{record.id}", EquipmentIdentified(**change), sitting.now_ms)
            sitting.add(fact)
            written.append(places.EquipmentRecord(record.id, row.reference, record.site, record.content | change))
        taken.append(Taken(row.row, row.reference, record.id, "changed" if change else "unchanged"))
    await places.save_equipment(sitting.connection, agency, written)
    return taken, faults


def _equipment_faults(row: EquipmentRow, site: places.SiteRecord | None, record: places.EquipmentRecord | None) -> list[Fault]:
    if site is None:
        return [Fault(row.row, "site_reference", "there is no such site", row.site_reference)]
    if record is None:
        return []
    if record.site != site.id:
        return [Fault(row.row, "site_reference", "exists at another site", row.site_reference)]
    return contradictions(row.row, record.content, _equipment_content(row), EQUIPMENT_FIXED)


def _register_equipment(sitting: Sitting, record: places.EquipmentRecord, row: EquipmentRow) -> None:
    body = EquipmentRegistered(
        reference=row.reference,
        kind=row.kind,
        label=row.label,
        site=record.site,
        location=_position(row.location),
        **{name: getattr(row, name) for name in EQUIPMENT_OPEN},
    )
    sitting.add(Fact(sitting.new_id(), f"equipment:{record.id}", body, sitting.now_ms))


def _equipment_content(row: EquipmentRow) -> dict[str, Any]:
    content = {name: getattr(row, name) for name in ("kind", "label", *EQUIPMENT_OPEN)}
    return content | {"location": list(row.location) if row.location else None}


def _news(there: Mapping[str, Any], said: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    return {name: said[name] for name in columns if said[name] is not None and said[name] != there.get(name)}


def _position(location: Sequence[int] | None) -> Position | None:
    return None if location is None else Position(latitude_e7=location[0], longitude_e7=location[1], source="import")


def _shown(value: object) -> str:
    return "nothing" if value is None else str(value)
