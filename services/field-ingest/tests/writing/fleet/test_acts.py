"""Acts on a device over HTTP: who may, what is refused by name, what the ledger says of it, and what a wipe attests."""

import json
from typing import Any


async def test_other_roles_may_not(office: Any) -> None:
    await office.hire("d-north", "north")
    for who, method, path in (
        ("timo", "GET", "devices"),
        ("timo", "GET", "agencies"),
        ("alix", "POST", "devices/d-north/wipe"),
        ("alix", "PUT", "agencies/x"),
        ("alix", "DELETE", "enrolment-codes/0123456789abcdef"),
    ):
        assert await office.refused(who, method, path, {"reason": "x"}) == (403, "access.forbidden")


async def test_each_act_is_said_once_in_the_ledger_with_who_and_why(office: Any) -> None:
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


async def test_what_a_lost_device_still_sends_is_let_in_by_a_supervisor_of_its_agency(office: Any) -> None:
    pen = await office.hire("d-lille", "north-lille")
    await office.hire("d-north", "north")
    await office.done("noor", "POST", "devices/d-lille/revocation", {"cause": "stolen"})
    await office.house.deliver(pen, pen.writes(2))
    waiting = await office.done("noor", "GET", "holds", device="d-lille")
    assert [(one["seq"], one["type"], one["actor"], one["revoked_cause"]) for one in waiting] == [
        (number, "intervention.comment_added.v1", "camille", "stolen") for number in (1, 2)
    ]
    assert await office.done("noor", "GET", "holds", device="d-north") == []
    assert await office.done("sam", "GET", "holds") == []
    first, second = (f"holds/{one['event_id']}/admission" for one in waiting)
    word = {"reason": "found again, untouched"}
    assert await office.refused("sam", "POST", first, word) == (404, "input.not_found")
    assert await office.refused("noor", "POST", second, word) == (422, "input.invalid")
    for path in (first, first, second):
        assert (await office.done("noor", "POST", path, word))["admitted_by"]
    assert await office.done("noor", "GET", "holds") == []
    await office.house.check_invariants()


async def test_what_is_not_possible_is_refused_by_name_and_changes_nothing(office: Any) -> None:
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


async def test_a_wipe_waits_until_the_device_attests_and_the_attestation_is_verified(office: Any) -> None:
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


async def test_an_attestation_that_leaves_events_behind_or_is_not_the_end_says_so(office: Any) -> None:
    house, pen = office.house, await office.hire("d-north", "north")
    await house.deliver(pen, pen.writes(2))
    order = (await office.done("noor", "POST", "devices/d-north/wipe", {"reason": "stolen", "at_once": True}))["order"]
    before = {"author": "d-north-i0", "head": 7, "unsent": 7}
    await house.deliver(pen, [pen.write("device.wiped.v1", attested(pen, order, **before), stream="device:d-north")])
    await house.deliver(pen, pen.writes(1))
    verdict = (await office.done("noor", "GET", "devices/d-north"))["attestation"]
    assert verdict["events_lost"] == {"d-north-i0": 7}
    assert not verdict["is_last_event"]


async def test_an_order_at_once_takes_the_place_of_one_that_waits_and_not_the_reverse(office: Any) -> None:
    await office.hire("d-north", "north")
    waits = await office.done("noor", "POST", "devices/d-north/wipe", {"reason": "left the company"})
    at_once = await office.done("noor", "POST", "devices/d-north/wipe", {"reason": "and took it along", "at_once": True})
    assert at_once["order"] != waits["order"]
    assert (await office.done("noor", "POST", "devices/d-north/wipe", {"reason": "calm again"}))["order"] == at_once["order"]
    assert await office.done("noor", "DELETE", "devices/d-north/wipe") == {"withdrawn": at_once["order"]}
    assert await office.done("noor", "DELETE", "devices/d-north/wipe") == {"withdrawn": None}
    assert await office.standing("d-north") == "active"


async def replaced(office: Any) -> None:
    """New hardware goes on as d-north, with a login key of its own."""
    await office.house.pool.execute(
        """
        INSERT INTO authors (author, kind, agency, device, incarnation, technician, login_key, event_key, shard, head_hash,
            registered_at_ms)
        SELECT 'd-north-i2', kind, agency, device, 2, technician, 'U-new', $1, shard, head_hash, registered_at_ms FROM authors
        WHERE device = 'd-north'
        """,
        bytes(range(32)),
    )


async def test_new_hardware_under_the_same_name_does_not_inherit_the_order(office: Any) -> None:
    await office.hire("d-north", "north")
    await office.done("noor", "POST", "devices/d-north/revocation", {"cause": "stolen"})
    order = (await office.done("noor", "POST", "devices/d-north/wipe", {"reason": "stolen", "at_once": True}))["order"]
    await replaced(office)
    shown = await office.done("noor", "GET", "devices/d-north")
    assert (shown["standing"], shown["wipe"]) == ("active", None)
    assert (await office.names("noor", unwiped=True), await office.names("sam", unwiped=True)) == (["d-north"], [])
    assert [(one["author"], one["wipe_order"]) for one in shown["incarnations"]] == [("d-north-i2", None), ("d-north-i1", order)]
    newer = (await office.done("noor", "POST", "devices/d-north/wipe", {"reason": "stolen, too"}))["order"]
    withdrawn = [(await office.done("noor", "DELETE", "devices/d-north/wipe"))["withdrawn"] for _ in range(3)]
    assert withdrawn == [newer, order, None]
    assert await office.names("noor", unwiped=True) == []


async def test_the_word_of_hardware_that_was_replaced_stands_with_its_incarnation(office: Any) -> None:
    pen = await office.hire("d-north", "north")
    order = (await office.done("noor", "POST", "devices/d-north/wipe", {"reason": "stolen"}))["order"]
    await replaced(office)
    await office.house.deliver(pen, [pen.write("device.wiped.v1", attested(pen, order), stream="device:d-north")])
    shown = await office.done("noor", "GET", "devices/d-north")
    assert (shown["standing"], shown["attestation"], shown["incarnations"][0]["attestation"]) == ("active", None, None)
    word = shown["incarnations"][1]["attestation"]
    assert (word["order"], word["author"], word["signature_holds"], word["is_last_event"]) == (order, pen.author, True, True)
    assert await office.names("noor", unwiped=True) == []
