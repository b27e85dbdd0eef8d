"""Invitations in bulk: the rows of a CSV file or of a JSON list become one-time codes in one transaction.

All of them or none, unless the good ones are asked for; each wrong row is named. A code with which other hardware goes on as a
device is asked for alone, because that is an act on the device. What a code is, and who may issue it, `codes` says.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from field_ingest.devices.agencies import AgencyTree
from field_ingest.devices.codes import CODE_VALID_S_MAX, Codes, Invitation, IssuedCode
from field_ingest.devices.people import Administrator
from zb_chassis.csvtable import ROWS_MAX, Fault, read_table
from zb_chassis.http import named_faults
from zb_contracts.events.values import Id
from zb_contracts.problems import FLEET_AGENCY_CLOSED, INPUT_INVALID, INPUT_ROWS, Problem

INVITATIONS_BYTES_MAX: Final = 2 << 20
"""Of the whole request: ROWS_MAX rows of some two hundred bytes."""
ERRORS_TOLD_MAX: Final = 200
JSON: Final = "application/json"
CSV: Final = "text/csv"

Mode = Literal["all-or-nothing", "good-rows"]


class InvitationRow(BaseModel):
    """One row: whose device it will be; without a technician it belongs to the agency's pool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agency: Id
    technician: Id | None = None
    valid_hours: Annotated[int, Field(ge=1, le=CODE_VALID_S_MAX // 3600)] = 24


class InvitationRows(BaseModel):
    """The JSON form of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    invitations: Annotated[tuple[Mapping[str, str | int | None], ...], Field(max_length=ROWS_MAX)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The good rows by their number (a file's as a spreadsheet shows it, a list's from 1), and what is wrong with the others."""

    rows: Mapping[int, Invitation]
    faults: tuple[Fault, ...]

    @property
    def agencies(self) -> list[str]:
        return sorted({row.agency for row in self.rows.values()})

    def but(self, faults: Iterable[Fault]) -> "Wanted":
        """Without the rows that are wrong after all."""
        wrong = {fault.row: fault for fault in faults}
        rows = {number: row for number, row in self.rows.items() if number not in wrong}
        return Wanted(rows, tuple(sorted((*self.faults, *wrong.values()), key=lambda fault: fault.row)))


@dataclass(frozen=True, slots=True)
class Invited:
    """A code for each good row, and why the others have none."""

    codes: Mapping[int, tuple[Invitation, IssuedCode]]
    faults: tuple[Fault, ...]


def read_wanted(content_type: str, data: bytes) -> Wanted:
    """The rows of a request. A Problem of the area `input` where it cannot be read at all."""
    if content_type == CSV:
        table = read_table(data, required=("agency",), optional=("technician", "valid_hours"))
        cells = ((row.number, {name: text for name, text in row.cells.items() if text}) for row in table.rows)
        return _read(cells, table.faults)
    if content_type == JSON:
        try:
            rows = InvitationRows.model_validate_json(data).invitations
        except ValidationError as fault:
            raise Problem(INPUT_INVALID, errors=tuple(named_faults(fault.errors()))) from fault
        return _read(enumerate(rows, 1), ())
    reason = f"the body is {CSV} or {JSON}, not {content_type or 'unnamed'}"
    raise Problem(INPUT_INVALID, errors=({"field": "content-type", "reason": reason},))


async def invite_all(codes: Codes, tree: AgencyTree, wanted: Wanted, administrator: Administrator, mode: Mode) -> Invited:
    """Issue a code for each row.

    INPUT_ROWS with what is wrong, and no code, unless `good-rows`; FLEET_AGENCY_CLOSED where an agency closes at this moment.
    """
    wanted = wanted.but(await _refused(codes, tree, wanted, administrator))
    if wanted.faults and mode == "all-or-nothing":
        total = len(wanted.rows) + len(wanted.faults)
        errors = tuple(fault.as_error() for fault in wanted.faults[:ERRORS_TOLD_MAX])
        raise Problem(INPUT_ROWS, errors=errors, bad=len(wanted.faults), total=total)
    issued = await codes.issue_all(list(wanted.rows.values()), administrator)
    given = {number: (row, code) for (number, row), code in zip(wanted.rows.items(), issued, strict=True)}
    return Invited(given, wanted.faults)


async def _refused(codes: Codes, tree: AgencyTree, wanted: Wanted, administrator: Administrator) -> list[Fault]:
    """The rows whose agency is closed or not the administrator's, or whose technician is not theirs alone."""
    agencies = {agency: str(Problem(FLEET_AGENCY_CLOSED, agency=agency)) for agency in await tree.closed(wanted.agencies)}
    for agency in wanted.agencies:
        try:
            administrator.check(agency)
        except Problem as refusal:
            agencies[agency] = str(refusal)
    technicians = await codes.refused(list(wanted.rows.values()), administrator)
    faults = []
    for number, row in wanted.rows.items():
        if row.agency in agencies:
            faults.append(Fault(number, "agency", agencies[row.agency], row.agency))
        elif row.technician in technicians:
            faults.append(Fault(number, "technician", str(technicians[row.technician]), row.technician))
    return faults


def _read(rows: Iterable[tuple[int, Mapping[str, Any]]], faults: Sequence[Fault]) -> Wanted:
    good: dict[int, Invitation] = {}
    wrong = list(faults)
    for number, values in rows:
        try:
            row = InvitationRow.model_validate(values)
        except ValidationError as fault:
            first = named_faults(fault.errors())[0]
            wrong.append(Fault(number, first["field"], first["reason"], str(values.get(first["field"], ""))))
        else:
            good[number] = Invitation(row.agency, row.technician, None, row.valid_hours * 3600)
    return Wanted(good, tuple(wrong))
