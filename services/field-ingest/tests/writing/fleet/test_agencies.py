"""The tree of agencies over HTTP: whose devices somebody sees and acts on, how it grows, and when an agency may be closed."""

import asyncio
import json
from typing import Any

from field_ingest.admission import rejects
from field_ingest.admission.rejects import Reject
from field_ingest.devices.agencies import check_open
from zb_chassis.database import transaction
from zb_contracts.envelope import parse_event
from zb_contracts.events import AuthorKind
from zb_contracts.events.office import InterventionCreated
from zb_contracts.merge.causality import merge_event
from zb_contracts.merge.fold import fold
from zb_contracts.merge.state import state_bytes
from zb_contracts.problems import SIGNATURE_INVALID, Problem

BOILER = "intervention:0192f000-0000-7000-8000-000000000042"
DEADLINE_S = 10.0


async def test_an_administrator_sees_and_acts_on_their_agency_and_below_and_nothing_else(office: Any) -> None:
    for device, agency in (("d-north", "north"), ("d-lille", "north-lille"), ("d-south", "south")):
        await office.hire(device, agency)
    assert await office.names("ada") == ["d-lille", "d-north", "d-south"]
    assert await office.names("noor") == ["d-lille", "d-north"]
    assert await office.names("noor", agency="north-lille") == ["d-lille"]
    assert await office.names("sam") == ["d-south"]
    assert await office.refused("sam", "GET", "devices", agency="north") == (403, "access.wrong_agency")
    assert await office.done("noor", "POST", "devices/d-lille/suspension", {"reason": "screen broken"})
    assert [one["agency"] for one in await office.done("noor", "GET", "agencies")] == ["north", "north-lille"]


async def test_another_agencys_device_is_not_found(office: Any) -> None:
    await office.hire("d-lille", "north-lille")
    before = await office.house.pool.fetchval("SELECT count(*) FROM ledger")
    for method, path, body in (
        ("GET", "devices/d-lille", None),
        ("GET", "devices/d-lille/suspensions", None),
        ("POST", "devices/d-lille/suspension", {"reason": "not mine"}),
        ("POST", "devices/d-lille/resumption", None),
        ("POST", "devices/d-lille/revocation", {"cause": "lost"}),
        ("POST", "devices/d-lille/wipe", {"reason": "not mine"}),
        ("DELETE", "devices/d-lille/wipe", None),
        ("POST", "enrolment-codes", {"agency": "south", "device": "d-lille"}),
    ):
        assert await office.refused("sam", method, path, body) == (404, "input.not_found"), path
    assert await office.standing("d-lille") == "active"
    assert await office.house.pool.fetchval("SELECT count(*) FROM ledger") == before


async def test_another_agency_is_refused_by_name(office: Any) -> None:
    for method, path, body in (
        ("POST", "enrolment-codes", {"agency": "north-lille"}),
        ("GET", "enrolment-codes?agency=north", None),
        ("GET", "devices?agency=north", None),
        ("PUT", "agencies/west", {"parent": "north", "name": "West"}),
        ("PUT", "agencies/west", {"parent": None, "name": "West"}),
        ("PUT", "agencies/north-lille", {"parent": "south", "name": "Ours now"}),
        ("PUT", "agencies/north-lille", {"parent": "north", "name": "Renamed"}),
    ):
        assert await office.refused("sam", method, path, body) == (403, "access.wrong_agency"), path
    assert len(await office.done("ada", "GET", "agencies")) == 3


async def test_an_agency_with_devices_is_not_taken_under_somebody_elses(office: Any) -> None:
    await office.hire("d-west", "west")
    assert await office.refused("sam", "PUT", "agencies/west", {"parent": "south", "name": "W"}) == (403, "access.wrong_agency")
    await office.done("ada", "PUT", "agencies/west", {"parent": "south", "name": "West"})
    assert await office.names("sam") == ["d-west"]


async def test_the_tree_has_no_circle_no_orphan_and_an_end(office: Any) -> None:
    circle = {"parent": "north-lille", "name": "North"}
    assert await office.refused("ada", "PUT", "agencies/north", circle) == (409, "fleet.agency_circle")
    assert await office.refused("ada", "PUT", "agencies/east", {"parent": "nowhere", "name": "E"}) == (404, "input.not_found")
    parent = "north-lille"
    for level in range(3, 9):
        await office.done("noor", "PUT", f"agencies/level-{level}", {"parent": parent, "name": f"{level}"})
        parent = f"level-{level}"
    assert await office.refused("noor", "PUT", "agencies/level-9", {"parent": parent, "name": "9"}) == (409, "fleet.agency_deep")
    assert await office.refused("ada", "PUT", "agencies/north", {"parent": "south", "name": "N"}) == (409, "fleet.agency_deep")
    await office.hire("d-deep", "level-8")
    assert await office.names("noor") == ["d-deep"]


# --- Closing ---


async def planned(house: Any, agency: str) -> None:
    """An intervention of the agency that nobody has begun, as the projection writes it."""
    body = InterventionCreated(reference="B-1", kind="repair", title="Leaky boiler", site="s-1", agency=agency)
    created = house.office.write("intervention.created.v1", body.canonical_bytes(), stream=BOILER)
    state = fold(BOILER, [merge_event(parse_event(created), AuthorKind.OFFICE)])
    await house.pool.execute(
        """
        INSERT INTO states (stream, kind, rule_version, state, state_hash, vector, positions, version, changed_ms)
        VALUES ($1, 'intervention', 1, $2, $3, '{}', '{}', 1, 0)
        """,
        BOILER,
        state_bytes(state),
        bytes(32),
    )


async def test_an_agency_is_closed_when_nothing_uses_it_and_each_use_is_named(office: Any) -> None:
    house = office.house
    await office.done("ada", "PUT", "agencies/north-lille-est", {"parent": "north-lille", "name": "Est"})
    pen = await office.hire("d-lille", "north-lille")
    code = await office.done("noor", "POST", "enrolment-codes", {"agency": "north-lille"})
    await planned(house, "north-lille")
    await office.done("noor", "POST", "devices/d-lille/revocation", {"cause": "lost"})
    await house.deliver(pen, pen.writes(2))

    async def refused() -> str:
        answer = await office.ask("noor", "DELETE", "agencies/north-lille")
        assert (answer.status_code, answer.json()["code"]) == (409, "fleet.agency_in_use")
        return str(answer.json()["details"]["uses"])

    others = "open agencies below it: 1, open codes: 1, held events: 2, interventions with open work: 1"
    assert await refused() == f"devices in use: 1, {others}"
    await office.done("noor", "POST", "devices/d-lille/revocation", {"cause": "retired"})
    assert await refused() == others
    await house.pool.execute(
        "UPDATE states SET state = convert_to(replace(convert_from(state, 'UTF8'), 'draft', 'done'), 'UTF8')"
    )
    await office.done("noor", "DELETE", "agencies/north-lille-est")
    await office.done("noor", "DELETE", f"enrolment-codes/{code['id']}")
    for event in pen.events:
        held_id = json.loads(event.header)["id"]
        await office.done("noor", "POST", f"holds/{held_id}/admission", {"reason": "genuine"})
    closed = [await office.done("noor", "DELETE", "agencies/north-lille") for _ in range(2)]
    assert closed[0] == closed[1]
    assert closed[0]["closed_at"] is not None
    assert await office.names("noor", agency="north-lille") == ["d-lille"]


async def test_a_closed_agency_gets_no_code_until_it_is_entered_again(office: Any) -> None:
    await office.done("noor", "DELETE", "agencies/north-lille")
    closed = (409, "fleet.agency_closed")
    assert await office.refused("noor", "POST", "enrolment-codes", {"agency": "north-lille"}) == closed
    assert await office.refused("noor", "PUT", "agencies/below", {"parent": "north-lille", "name": "Below"}) == closed
    listed = {one["agency"]: one["closed_at"] for one in await office.done("noor", "GET", "agencies")}
    assert listed["north"] is None
    assert listed["north-lille"] is not None
    await office.done("noor", "PUT", "agencies/north-lille", {"parent": "north", "name": "North-Lille"})
    await office.done("noor", "POST", "enrolment-codes", {"agency": "north-lille"})


async def test_an_agency_is_closed_by_those_above_it(office: Any) -> None:
    wrong = (403, "access.wrong_agency")
    assert await office.refused("noor", "DELETE", "agencies/north") == wrong
    assert await office.refused("sam", "DELETE", "agencies/north-lille") == wrong
    assert await office.refused("sam", "DELETE", "agencies/nowhere") == wrong
    assert await office.refused("ada", "DELETE", "agencies/nowhere") == (404, "input.not_found")
    await office.done("ada", "DELETE", "agencies/south")
    assert await office.refused("sam", "PUT", "agencies/south", {"parent": None, "name": "South"}) == wrong


async def test_a_code_that_is_being_issued_is_seen_by_who_closes_the_agency(office: Any) -> None:
    house = office.house
    async with transaction(house.pool) as connection:
        await check_open(connection, ["south"])
        closing = asyncio.create_task(office.refused("ada", "DELETE", "agencies/south"))
        async with asyncio.timeout(DEADLINE_S):
            while not await house.pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                pass
        await connection.execute(
            """
            INSERT INTO enrolment_codes (code_hash, agency, issued_by, issued_at_ms, expires_at_ms)
            VALUES ('\\x00', 'south', 'ada', $1::bigint, $1::bigint + 60000)
            """,
            house.now_ms,
        )
    assert await closing == (409, "fleet.agency_in_use")


# --- What others see of the ledger ---


async def test_rejects_and_marks_are_those_of_the_callers_agencies(office: Any) -> None:
    house = office.house
    for device, agency in (("d-lille", "north-lille"), ("d-south", "south")):
        await office.hire(device, agency)
    subjects = [*(f"field.v1.{device}" for device in ("d-lille", "d-south", "d-unknown")), "office.v1.office-main"]
    async with transaction(house.pool) as connection:
        unsigned = [Reject(subject, "d-lille-i1", Problem(SIGNATURE_INVALID, seq=1), b"no event") for subject in subjects]
        await rejects.note(connection, unsigned, at_ms=house.now_ms)

    async def seen(who: str) -> tuple[list[str], list[str]]:
        found = await office.done(who, "GET", "rejects")
        return sorted(one["subject"] for one in found["counts"]), sorted(one["subject"] for one in found["samples"])

    assert await seen("ada") == (sorted(subjects), sorted(subjects))
    assert await seen("noor") == (["field.v1.d-lille"], ["field.v1.d-lille"])
    assert await seen("sam") == (["field.v1.d-south"], ["field.v1.d-south"])
    assert (await office.done("noor", "GET", "ledger/d-lille-i1"))["mark"] == 0
    assert await office.refused("sam", "GET", "ledger/d-lille-i1") == (404, "input.not_found")
