"""HTTP for what becomes of a data subject's values: the values themselves, the report, erasure, legal hold. No key leaves here.

A subject is named by its id, or a site by its reference. Planners and dispatchers read values, which the access log notes; the
fleet administrator of the agency destroys; auditors see what is sealed where, no value.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from scheduling import places
from scheduling.api import actor_of
from scheduling.custody.erasure import Erasure, Report
from scheduling.custody.policy import RULES
from scheduling.custody.records import KeyRecord
from scheduling.desk import Desk
from scheduling.forms import Form
from zb_chassis import access_log
from zb_chassis.identity import Principal, Role, allow
from zb_contracts.announcements import PICTURES_MAX
from zb_contracts.events.values import Code, Id, Name, Sha256, Uuid
from zb_contracts.problems import INPUT_NOT_FOUND, Problem
from zb_contracts.sealed import SealedValue
from zb_contracts.times import format_time_ms

Destroying = Annotated[Principal, allow(Role.FLEET_ADMINISTRATOR)]
Asking = Annotated[Principal, allow(Role.FLEET_ADMINISTRATOR, Role.AUDITOR, Role.DISPATCHER, Role.PLANNER)]
Opening = Annotated[Principal, allow(Role.DISPATCHER, Role.PLANNER)]
SubjectId = Annotated[Id, Path()]
VALUES_MAX: Final = 500
"""Opened in one request."""


class HoldForm(Form):
    """Why keys must not be destroyed: the number of a case, never a person's name."""

    case: Code


class ErasureForm(Form):
    """Pictures (SHA-256 of their bytes) that show the subject, beside those that custody knows of."""

    pictures: Annotated[tuple[Sha256, ...], Field(max_length=PICTURES_MAX)] = ()


class KeyView(BaseModel):
    """One key: what it is for, when it was made and destroyed, and which fields of which events are sealed under it."""

    model_config = ConfigDict(frozen=True)

    kid: str
    purpose: str
    period: str
    made_at: str
    expires_at: str | None
    destroyed_at: str | None
    kept_because: str | None
    values: list[dict[str, str]]


class SubjectView(BaseModel):
    """What is, or was, readable of a subject; what stays after an erasure, and why."""

    model_config = ConfigDict(frozen=True)

    subject: str
    agency: str
    hold: dict[str, str] | None
    living: list[KeyView]
    destroyed: list[KeyView]
    pictures: list[str]
    """SHA-256 of each picture that the evidence store was told to erase with the destroyed keys."""
    stays: list[dict[str, str]]


class ValuesView(BaseModel):
    """Personal values by field, in clear."""

    model_config = ConfigDict(frozen=True)

    subject: str
    values: dict[str, str]


class SealedField(Form):
    """A sealed value as an event or a merged state has it, with the event and the field that it is bound to."""

    event: Uuid
    field: Code
    value: SealedValue


class OpeningForm(Form):
    """What is to be read of one subject."""

    values: Annotated[tuple[SealedField, ...], Field(min_length=1, max_length=VALUES_MAX)]


class OpenedView(BaseModel):
    """The texts in the order of the question; null where the key is another subject's, or destroyed."""

    model_config = ConfigDict(frozen=True)

    subject: str
    texts: list[str | None]


class SubjectIdView(BaseModel):
    """The id under which custody knows a subject."""

    model_config = ConfigDict(frozen=True)

    subject: str


def router(desk: Desk) -> APIRouter:
    """All of it under /v1/subjects."""
    routes = APIRouter(prefix="/v1/subjects", tags=["data subjects"])
    erasure = Erasure(desk)
    _add_reading(routes, desk, erasure)
    _add_values(routes, desk, erasure)
    _add_opening(routes, desk, erasure)
    _add_destroying(routes, erasure)
    return routes


def _add_reading(routes: APIRouter, desk: Desk, erasure: Erasure) -> None:
    @routes.get("")
    async def find(
        principal: Asking, site_reference: Annotated[Name, Query()], agency: Annotated[Id, Query()] = "main"
    ) -> SubjectIdView:
        """The subject that a site's contact is."""
        principal.check_agency(agency)
        async with desk.pool.acquire() as connection:
            sites = await places.load_sites(connection, agency, [site_reference])
        if site_reference not in sites:
            raise Problem(INPUT_NOT_FOUND, what="site", id=site_reference)
        return SubjectIdView(subject=sites[site_reference].id)

    @routes.get("/{subject}")
    async def report(principal: Asking, subject: SubjectId) -> SubjectView:
        """What is sealed for a subject and where it stands."""
        return _view(await _allowed(erasure, principal, subject))


def _add_values(routes: APIRouter, desk: Desk, erasure: Erasure) -> None:
    @routes.get("/{subject}/values")
    async def values(principal: Opening, subject: SubjectId) -> ValuesView:
        """The newest personal values, opened. Who asks, and for what, stands in the access log before the answer leaves."""
        await _allowed(erasure, principal, subject)
        opened = await erasure.values(subject)
        await access_log.record(desk.pool, principal, "read personal values", f"subject:{subject}", at_ms=desk.clock())
        return ValuesView(subject=subject, values=opened)


def _add_opening(routes: APIRouter, desk: Desk, erasure: Erasure) -> None:
    @routes.post("/{subject}/opening")
    async def opening(principal: Opening, subject: SubjectId, form: OpeningForm) -> OpenedView:
        """Sealed values of the subject, opened: who signed, where somebody was. In the access log before the answer leaves."""
        await _allowed(erasure, principal, subject)
        texts = await erasure.opened(subject, [(one.event, one.field, one.value) for one in form.values])
        await access_log.record(desk.pool, principal, "opened sealed values", f"subject:{subject}", at_ms=desk.clock())
        return OpenedView(subject=subject, texts=texts)


def _add_destroying(routes: APIRouter, erasure: Erasure) -> None:
    @routes.post("/{subject}/erasure")
    async def erase(principal: Destroying, subject: SubjectId, form: ErasureForm | None = None) -> SubjectView:
        """Destroy the subject's keys, for ever. 409 under a legal hold, where a law keeps all of it, or when none lives."""
        await _allowed(erasure, principal, subject)
        pictures = form.pictures if form else ()
        return _view(await erasure.erase(subject, actor_of(principal), pictures))

    @routes.put("/{subject}/hold")
    async def hold(principal: Destroying, subject: SubjectId, form: HoldForm) -> SubjectView:
        """Keep every key of the subject, whatever is asked and whatever expires, until the hold is lifted."""
        await _allowed(erasure, principal, subject)
        await erasure.vault.hold(subject, form.case, erasure.desk.clock())
        return _view(await erasure.report(subject))

    @routes.delete("/{subject}/hold")
    async def lift(principal: Destroying, subject: SubjectId) -> SubjectView:
        """End the legal hold."""
        await _allowed(erasure, principal, subject)
        await erasure.vault.lift(subject)
        return _view(await erasure.report(subject))


async def _allowed(erasure: Erasure, principal: Principal, subject: str) -> Report:
    report = await erasure.report(subject)
    principal.check_agency(report.subject.agency)
    return report


def _view(report: Report) -> SubjectView:
    subject = report.subject
    held = None
    if subject.hold_case is not None and subject.held_since_ms is not None:
        held = {"case": subject.hold_case, "since": format_time_ms(subject.held_since_ms)}
    return SubjectView(
        subject=subject.id,
        agency=subject.agency,
        hold=held,
        living=[_key(key, report) for key in report.living],
        destroyed=[_key(key, report) for key in report.destroyed],
        pictures=list(report.pictures),
        stays=[{"what": each.what, "why": each.why} for each in report.stays],
    )


def _key(key: KeyRecord, report: Report) -> KeyView:
    return KeyView(
        kid=key.kid,
        purpose=key.purpose,
        period=key.period,
        made_at=format_time_ms(key.made_at_ms),
        expires_at=_time(key.expires_at_ms),
        destroyed_at=_time(key.destroyed_at_ms),
        kept_because=RULES[key.purpose].basis if key in report.kept else None,
        values=[{"stream": use.stream, "event": use.event, "field": use.field} for use in key.uses],
    )


def _time(ms: int | None) -> str | None:
    return None if ms is None else format_time_ms(ms)
