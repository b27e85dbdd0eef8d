"""The access log: every read is a record, in one chain that shows whoever tampers with it, for as long as its policy says."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter

from zb_chassis import access_log
from zb_chassis.database import Pool, open_pool
from zb_chassis.http import application
from zb_chassis.identity import ORDINARY_DUTY, Principal, Role, allow

DANA = Principal("dana", frozenset({Role.DISPATCHER}), frozenset({"main"}))
NOON_MS = 1_795_000_000_000


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    opened = await open_pool(database, application_name="test_access_log")
    yield opened
    await opened.close()


async def reads(pool: Pool, count: int) -> None:
    for number in range(count):
        await access_log.record(pool, DANA, "state", f"intervention:{number}", at_ms=NOON_MS + number)


async def verdict(pool: Pool) -> access_log.Verdict:
    async with pool.acquire() as connection:
        return await access_log.verify(connection)


async def test_reads_at_the_same_time_make_one_chain(pool: Pool) -> None:
    await asyncio.gather(*(access_log.record(pool, DANA, "state", f"intervention:{n}", at_ms=NOON_MS) for n in range(40)))
    assert await verdict(pool) == access_log.Verdict(40, None)


@pytest.mark.parametrize(
    ("tamper", "broken_at"),
    [
        ("UPDATE chassis.access_log SET reader = 'somebody else' WHERE number = 4", 4),
        ("UPDATE chassis.access_log SET at_ms = at_ms + 1 WHERE number = 1", 1),
        ("DELETE FROM chassis.access_log WHERE number = 4", 4),
        ("DELETE FROM chassis.access_log WHERE number = 10", 10),
        ("DELETE FROM chassis.access_log", 1),
    ],
)
async def test_a_record_that_was_changed_or_taken_out_shows(pool: Pool, tamper: str, broken_at: int) -> None:
    await reads(pool, 10)
    assert (await verdict(pool)).sound
    await pool.execute(tamper)
    assert (await verdict(pool)).broken_at == broken_at


async def test_old_records_go_by_policy_and_the_chain_goes_on(pool: Pool) -> None:
    await reads(pool, 10)
    assert await access_log.prune(pool, before_ms=NOON_MS + 6) == 6
    assert await access_log.prune(pool, before_ms=NOON_MS + 6) == 0
    await reads(pool, 1)
    assert await verdict(pool) == access_log.Verdict(5, None)
    assert await access_log.prune(pool, before_ms=NOON_MS + 1_000) == 5
    assert await verdict(pool) == access_log.Verdict(0, None)


async def test_a_machine_leaves_no_record(pool: Pool) -> None:
    machine = Principal("erp", frozenset({Role.SERVICE}), frozenset({"*"}))
    await access_log.record(pool, machine, "state", "intervention:1", at_ms=NOON_MS)
    assert await verdict(pool) == access_log.Verdict(0, None)


class _People:
    """The token is the person's name; Alix audits, Noa audits the agency north alone."""

    async def verify(self, token: str) -> Principal:
        role = Role.AUDITOR if token in ("alix", "noa") else Role.DISPATCHER
        return Principal(token, frozenset({role}), frozenset({"north" if token == "noa" else "*"}))


@pytest.fixture
async def http(pool: Pool) -> AsyncIterator[httpx.AsyncClient]:
    async def ready() -> None:
        return None

    routes = APIRouter()

    @routes.get("/v1/contact")
    async def contact(caller: Annotated[Principal, allow(Role.DISPATCHER, Role.AUDITOR)]) -> dict[str, str]:
        await access_log.record(pool, caller, "contact", "site:1", at_ms=NOON_MS)
        return {}

    app = application("test", [routes, access_log.router(pool, lambda: NOON_MS)], ready=ready)
    app.state.verifier = _People()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service/v1") as client:
        yield client


def as_(name: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}", **more}


async def test_a_reader_states_a_purpose_and_an_auditor_sees_it(http: httpx.AsyncClient) -> None:
    await http.get("/contact", headers=as_("dana"))
    await http.get("/contact", headers=as_("dana", **{"Zb-Purpose": "complaint 2026-114"}))
    shown = (await http.get("/access-log", params={"about": "site:1"}, headers=as_("alix"))).json()["records"]
    assert [(one["reader"], one["purpose"], one["action"]) for one in shown] == [
        ("dana", ORDINARY_DUTY, "contact"),
        ("dana", "complaint 2026-114", "contact"),
    ]
    again = (await http.get("/access-log", params={"reader": "alix"}, headers=as_("alix"))).json()["records"]
    assert [one["action"] for one in again] == ["read the access log"]
    assert (await http.get("/access-log/verification", headers=as_("alix"))).json() == {
        "sound": True,
        "records": 4,
        "broken_at": None,
    }


async def test_what_is_no_purpose_and_who_is_no_auditor_is_refused(http: httpx.AsyncClient) -> None:
    refused = await http.get("/contact", headers=as_("dana", **{"Zb-Purpose": "x" * 201}))
    assert (refused.status_code, refused.json()["code"]) == (422, "input.invalid")
    assert (await http.get("/access-log", headers=as_("dana"))).status_code == 403


async def test_an_auditor_of_one_agency_does_not_see_who_reads_in_the_others(http: httpx.AsyncClient) -> None:
    for path in ("/access-log", "/access-log/verification"):
        refused = await http.get(path, headers=as_("noa"))
        assert (refused.status_code, refused.json()["code"]) == (403, "access.wrong_agency")
