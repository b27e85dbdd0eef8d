"""The fleet over HTTP: who may do what with which device, what is refused by name, and what the ledger says of it afterwards."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from field_ingest.devices import about
from field_ingest.devices.acts import Fleet
from field_ingest.devices.agencies import AgencyTree
from field_ingest.devices.codes import Codes
from field_ingest.devices.fleet_api import Desk, fleet_router
from field_ingest.devices.holds import Holds
from zb_chassis.http import application
from zb_chassis.identity import Principal, Role
from zb_contracts.sync import About

HOUR_MS = 3_600_000
PEOPLE = {
    "ada": (Role.FLEET_ADMINISTRATOR, "*"),
    "noor": (Role.FLEET_ADMINISTRATOR, "north"),
    "sam": (Role.FLEET_ADMINISTRATOR, "south"),
    "alix": (Role.AUDITOR, "*"),
    "timo": (Role.TECHNICIAN, "*"),
}


class _People:
    """Verifies no token: who calls is what is tried here, not how they prove it."""

    async def verify(self, token: str) -> Principal:
        role, agency = PEOPLE[token]
        return Principal(token, frozenset({role}), frozenset({agency}))


@dataclass
class Office:
    """People who call, one client each."""

    client: httpx.AsyncClient
    house: Any

    async def ask(self, who: str, method: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        return await self.client.request(
            method, f"/v1/{path}", json=body, params=query or None, headers={"Authorization": f"Bearer {who}"}
        )  # fmt: skip

    async def done(self, who: str, method: str, path: str, body: Any = None, **query: Any) -> Any:
        answer = await self.ask(who, method, path, body, **query)
        assert answer.is_success, answer.text
        return answer.json()

    async def refused(self, who: str, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, str]:
        answer = await self.ask(who, method, path, body, **query)
        return answer.status_code, answer.json()["code"]

    async def standing(self, device: str) -> str:
        return str((await self.done("alix", "GET", f"devices/{device}"))["standing"])

    async def names(self, who: str, **query: Any) -> list[str]:
        return [one["device"] for one in (await self.done(who, "GET", "devices", **query))["devices"]]

    async def hire(self, device: str, agency: str) -> Any:
        """A device of the agency with a login key."""
        pen = await self.house.hire(device)
        await self.house.pool.execute(
            "UPDATE authors SET agency = $2, login_key = $3 WHERE device = $1", device, agency, f"U-{device}"
        )  # fmt: skip
        return pen


@pytest.fixture
async def office(house: Any) -> AsyncIterator[Office]:
    """The agencies north (with north-lille below it) and south."""

    async def ready() -> None:
        return None

    desk = Desk(
        pool=house.pool,
        tree=AgencyTree(house.pool),
        codes=Codes(house.pool, house.clock),
        fleet=Fleet(house.pool, house.signer, clock=house.clock, real_clock=house.clock),
        holds=Holds(house.pool, house.signer),
        clock=house.clock,
        real_clock=house.clock,
    )
    app = application("field-ingest", [fleet_router(desk)], ready=ready)
    app.state.verifier = _People()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingest") as client:
        office = Office(client, house)
        for agency, parent in (("north", None), ("south", None), ("north-lille", "north")):
            await office.done("ada", "PUT", f"agencies/{agency}", {"parent": parent, "name": agency.title()})
        yield office


def attested(pen: Any, order: str, **left: int) -> bytes:
    """The body of the device's last event."""
    log = {"author": pen.author, "head": len(pen.events), "unsent": 0, "unreceipted": 0} | left
    body = {
        "at_once": False,
        "bytes_left": 0,
        "device": pen.device,
        "files_left": 0,
        "logs": [log],
        "order": order,
        "read_models": 1,
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


# --- Agencies ---


async def test_an_administrator_sees_and_acts_on_their_agency_and_below_and_nothing_else(office: Office) -> None:
    for device, agency in (("d-north", "north"), ("d-lille", "north-lille"), ("d-south", "south")):
        await office.hire(device, agency)
    assert await office.names("ada") == ["d-lille", "d-north", "d-south"]
    assert await office.names("noor") == ["d-lille", "d-north"]
    assert await office.names("noor", agency="north-lille") == ["d-lille"]
    assert await office.names("sam") == ["d-south"]
    assert await office.refused("sam", "GET", "devices", agency="north") == (403, "access.wrong_agency")
    assert await office.done("noor", "POST", "devices/d-lille/suspension", {"reason": "screen broken"})
    assert [one["agency"] for one in await office.done("noor", "GET", "agencies")] == ["north", "north-lille"]


async def test_another_agencys_device_is_not_found(office: Office) -> None:
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


async def test_another_agency_is_refused_by_name(office: Office) -> None:
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


async def test_an_agency_with_devices_is_not_taken_under_somebody_elses(office: Office) -> None:
    await office.hire("d-west", "west")
    assert await office.refused("sam", "PUT", "agencies/west", {"parent": "south", "name": "W"}) == (403, "access.wrong_agency")
    await office.done("ada", "PUT", "agencies/west", {"parent": "south", "name": "West"})
    assert await office.names("sam") == ["d-west"]


async def test_the_tree_has_no_circle_no_orphan_and_an_end(office: Office) -> None:
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


async def test_other_roles_may_not(office: Office) -> None:
    await office.hire("d-north", "north")
    for who, method, path in (
        ("timo", "GET", "devices"),
        ("timo", "GET", "agencies"),
        ("alix", "POST", "devices/d-north/wipe"),
        ("alix", "PUT", "agencies/x"),
        ("alix", "DELETE", "enrolment-codes/0123456789abcdef"),
    ):
        assert await office.refused(who, method, path, {"reason": "x"}) == (403, "access.forbidden")


# --- Codes ---


async def test_codes_are_listed_by_what_became_of_them_and_taken_back(office: Office) -> None:
    house = office.house
    short = await office.done("noor", "POST", "enrolment-codes", {"agency": "north", "technician": "camille", "valid_s": 60})
    house.now_ms += 1
    long = await office.done("noor", "POST", "enrolment-codes", {"agency": "north-lille"})
    assert await office.refused("sam", "DELETE", f"enrolment-codes/{long['id']}") == (404, "input.not_found")
    taken = [await office.done("noor", "DELETE", f"enrolment-codes/{long['id']}") for _ in range(2)]
    assert taken[0] == taken[1]
    assert (taken[0]["state"], taken[0]["revoked_by"], taken[0]["issued_by"]) == ("revoked", "noor", "noor")
    house.now_ms += 60_000
    listed = await office.done("noor", "GET", "enrolment-codes")
    assert [(one["id"], one["state"]) for one in listed["codes"]] == [(long["id"], "revoked"), (short["id"], "expired")]
    assert listed["next"] is None
    assert (await office.done("sam", "GET", "enrolment-codes"))["codes"] == []
    assert short["code"] not in json.dumps(listed)
    noted = await house.pool.fetch("SELECT reader, action, object FROM chassis.access_log ORDER BY number")
    assert [tuple(row) for row in noted[-2:]] == [("noor", "take a code back", f"code:{long['id']}")] * 2


async def test_a_used_code_cannot_be_taken_back(office: Office) -> None:
    issued = await office.done("noor", "POST", "enrolment-codes", {"agency": "north"})
    answer = b'{"device":"d-new"}'
    await office.house.pool.execute("UPDATE enrolment_codes SET used_at_ms = issued_at_ms, answer = $1", answer)
    assert await office.refused("noor", "DELETE", f"enrolment-codes/{issued['id']}") == (409, "fleet.code_used")


# --- Acts ---


async def test_each_act_is_said_once_in_the_ledger_with_who_and_why(office: Office) -> None:
    await office.hire("d-north", "north")
    for _ in range(2):
        await office.done("noor", "POST", "devices/d-north/suspension", {"reason": "screen broken", "hours": 2})
    assert await office.standing("d-north") == "suspended"
    assert await office.done("noor", "POST", "devices/d-north/resumption") == {"lifted": True}
    for _ in range(2):
        await office.done("ada", "POST", "devices/d-north/revocation", {"cause": "lost", "reason": "left in a cab"})
    shown = await office.done("alix", "GET", "devices/d-north")
    assert (shown["standing"], shown["revoked_cause"]) == ("lost", "lost")
    acts = [(one["act"], one["by"], one.get("reason")) for one in reversed(shown["history"]) if "act" in one]
    assert acts == [("suspended", "noor", "screen broken"), ("resumed", "noor", None), ("lost", "ada", "left in a cab")]
    await office.house.check_invariants()


async def test_what_is_not_possible_is_refused_by_name_and_changes_nothing(office: Office) -> None:
    await office.hire("d-north", "north")
    await office.done("noor", "POST", "devices/d-north/revocation", {"cause": "retired"})
    for method, path, body in (
        ("POST", "devices/d-north/suspension", {"reason": "x"}),
        ("POST", "devices/d-north/resumption", None),
        ("POST", "devices/d-north/revocation", {"cause": "lost"}),
        ("DELETE", "devices/d-north/wipe", None),
        ("POST", "enrolment-codes", {"agency": "north", "device": "d-north"}),
    ):
        assert await office.refused("noor", method, path, body) == (409, "fleet.standing")
    assert await office.standing("d-north") == "retired"


# --- Wipes ---


async def test_a_wipe_waits_until_the_device_attests_and_the_attestation_is_verified(office: Office) -> None:
    house, pen = office.house, await office.hire("d-north", "north")
    await house.deliver(pen, pen.writes(3))
    order = (await office.done("noor", "POST", "devices/d-north/wipe", {"reason": "left the company"}))["order"]
    again = await office.done("noor", "POST", "devices/d-north/wipe", {"reason": "once more"})
    assert again["order"] == order
    shown = await office.done("noor", "GET", "devices/d-north")
    assert (shown["standing"], shown["wipe"]["state"], shown["wipe"]["ordered_by"]) == ("wiping", "ordered", "noor")
    assert shown["attestation"] is None

    word = pen.write("device.wiped.v1", attested(pen, order, head=3), stream="device:d-north")
    await house.deliver(pen, [word])
    shown = await office.done("noor", "GET", "devices/d-north")
    assert (shown["standing"], shown["wipe"]["state"]) == ("wiped", "attested")
    verdict = shown["attestation"]
    assert (verdict["order"], verdict["signature_holds"], verdict["is_last_event"]) == (order, True, True)
    assert verdict["events_lost"] == {}
    assert await office.refused("noor", "DELETE", "devices/d-north/wipe") == (409, "fleet.standing")
    await office.done("noor", "POST", "enrolment-codes", {"agency": "north", "device": "d-north"})


async def test_an_attestation_that_leaves_events_behind_or_is_not_the_end_says_so(office: Office) -> None:
    house, pen = office.house, await office.hire("d-north", "north")
    await house.deliver(pen, pen.writes(2))
    order = (await office.done("noor", "POST", "devices/d-north/wipe", {"reason": "stolen", "at_once": True}))["order"]
    before = {"author": "d-north-i0", "head": 7, "unsent": 7}
    await house.deliver(pen, [pen.write("device.wiped.v1", attested(pen, order, **before), stream="device:d-north")])
    await house.deliver(pen, pen.writes(1))
    verdict = (await office.done("noor", "GET", "devices/d-north"))["attestation"]
    assert verdict["events_lost"] == {"d-north-i0": 7}
    assert not verdict["is_last_event"]


async def test_an_order_at_once_takes_the_place_of_one_that_waits_and_not_the_reverse(office: Office) -> None:
    await office.hire("d-north", "north")
    waits = await office.done("noor", "POST", "devices/d-north/wipe", {"reason": "left the company"})
    at_once = await office.done("noor", "POST", "devices/d-north/wipe", {"reason": "and took it along", "at_once": True})
    assert at_once["order"] != waits["order"]
    assert (await office.done("noor", "POST", "devices/d-north/wipe", {"reason": "calm again"}))["order"] == at_once["order"]
    assert await office.done("noor", "DELETE", "devices/d-north/wipe") == {"withdrawn": at_once["order"]}
    assert await office.done("noor", "DELETE", "devices/d-north/wipe") == {"withdrawn": None}
    assert await office.standing("d-north") == "active"


async def test_new_hardware_under_the_same_name_does_not_inherit_the_order(office: Office) -> None:
    house = office.house
    await office.hire("d-north", "north")
    await office.done("noor", "POST", "devices/d-north/revocation", {"cause": "stolen"})
    order = (await office.done("noor", "POST", "devices/d-north/wipe", {"reason": "stolen", "at_once": True}))["order"]
    await house.pool.execute(
        """
        INSERT INTO authors (author, kind, agency, device, incarnation, technician, login_key, event_key, shard, head_hash,
            registered_at_ms)
        SELECT 'd-north-i2', kind, agency, device, 2, technician, 'U-new', $1, shard, head_hash, registered_at_ms FROM authors
        WHERE device = 'd-north'
        """,
        bytes(range(32)),
    )
    shown = await office.done("noor", "GET", "devices/d-north")
    assert (shown["standing"], shown["wipe"]) == ("active", None)
    assert [(one["author"], one["wipe_order"]) for one in shown["incarnations"]] == [("d-north-i2", None), ("d-north-i1", order)]


# --- Inventory ---


async def test_the_inventory_has_what_the_device_told_last_and_never_what_is_older(office: Office) -> None:
    house, pen = office.house, await office.hire("d-north", "north")
    newer = About(
        number=2,
        at_ms=house.now_ms + 4_000,
        model="CT-60",
        os="Android 15",
        app="2.1",
        battery_percent=40,
        waiting_events=3,
        oldest_waiting_ms=house.now_ms - 30 * HOUR_MS,
        waiting_files=1,
    )
    await about.tell(house.pool, pen.author, newer, now_ms=house.now_ms)
    await about.tell(house.pool, pen.author, About(number=1, at_ms=1, app="1.0"), now_ms=house.now_ms + 1)
    [one] = (await office.done("noor", "GET", "devices"))["devices"]
    told = {name: one[name] for name in ("model", "os", "app", "battery_percent", "waiting_events", "waiting_files")}
    assert told == {
        "model": "CT-60",
        "os": "Android 15",
        "app": "2.1",
        "battery_percent": 40,
        "waiting_events": 3,
        "waiting_files": 1,
    }
    assert (one["clock_offset_ms"], one["oldest_waiting"]) == (4_000, "2026-11-22T04:00:00.000Z")
    await house.pool.execute("UPDATE authors SET incarnation = 2")
    await about.tell(house.pool, pen.author, About(number=1, at_ms=house.now_ms, app="2.2"), now_ms=house.now_ms)
    [one] = (await office.done("noor", "GET", "devices"))["devices"]
    assert (one["app"], one["model"], one["waiting_events"]) == ("2.2", "CT-60", 0)


async def test_devices_are_chosen_by_what_they_told_and_paged_by_name(office: Office) -> None:
    house = office.house
    for number in range(5):
        pen = await office.hire(f"d-{number}", "north")
        told = About(
            number=1,
            at_ms=house.now_ms,
            app=f"2.{number % 2}",
            battery_percent=20 * number,
            oldest_waiting_ms=house.now_ms - number * HOUR_MS,
        )
        await about.tell(house.pool, pen.author, told, now_ms=house.now_ms)
        await house.pool.execute(
            "INSERT INTO sync_session VALUES ($1, 'camille', $2)", f"d-{number}", house.now_ms - number * HOUR_MS
        )
    await office.done("noor", "POST", "devices/d-3/suspension", {"reason": "screen broken"})
    assert await office.names("noor", app="2.1") == ["d-1", "d-3"]
    assert await office.names("noor", standing="suspended") == ["d-3"]
    assert await office.names("noor", battery_below=20) == ["d-0"]
    assert await office.names("noor", silent_h=3) == ["d-3", "d-4"]
    assert await office.names("noor", waiting_h=4) == ["d-4"]
    assert await office.names("noor", technician="camille", standing="active", app="2.1") == ["d-1"]
    assert await office.names("noor", technician="dominique") == []
    first = await office.done("noor", "GET", "devices", limit=3)
    assert (len(first["devices"]), first["next"]) == (3, "d-2")
    assert await office.names("noor", limit=3, after=first["next"]) == ["d-3", "d-4"]
    assert await office.refused("noor", "GET", "devices", limit=501) == (422, "input.invalid")
