"""The SDK is whole: a method for every event of the field, a command for every method, a state for everything recorded."""

import inspect

import pytest

from tests.fixtures.little_platform import PIN, Wire
from zb_contracts.envelope import Header
from zb_contracts.events import EVENT_TYPES, AuthorKind
from zb_contracts.events.places import SiteChanged
from zb_contracts.events.registry import type_of
from zb_contracts.merge.causality import MergeEvent
from zb_contracts.merge.headers import narrowed
from zb_contracts.times import format_time_ms
from zb_device import cli
from zb_device.command_register import COMMANDS
from zb_device.commands import run
from zb_device.device import Device
from zb_device.faults import FileInvalid, NoTechnician, RecordInvalid, WrongPin
from zb_device.policies import WaitsFor
from zb_device.standing import Standing
from zb_device.surroundings import Equipment, Shift, Site, Stock
from zb_device.work import Work

OWN_TESTIMONY = {"device.split_view_seen", "device.wiped"}
"""What the device says of itself, unasked."""
BOILER = {"intervention": "leaky-boiler"}
OTHER = "01900000-0000-7000-8000-000000000001"
PRICE = {"label": "seal", "quantity": "1", "unit_price_cents": 900}

SAID = {
    "travel": {},
    "stop_travel": {},
    "arrive": {"position": {"latitude_e7": 488_566_000, "longitude_e7": 23_522_000, "source": "gnss"}},
    "start": {},
    "diagnose": {"diagnosis": "the seal is worn", "symptom": "leak", "cause": "wear"},
    "set_equipment_state": {"equipment": "boiler-7", "equipment_state": "restricted", "reason": "until the part comes"},
    "answer": {"checklist": "gas-safety", "item": "valve-closed", "answer": True, "remark": "twice"},
    "measure": {"quantity": "pressure", "value": "1.5", "unit": "bar", "equipment": "boiler-7"},
    "comment": {"text": "water under the boiler"},
    "edit_comment": {"replaces": OTHER, "text": "water beside the boiler"},
    "use_part": {"part": "seal-12", "quantity": "2", "serials": ["s-1", "s-2"], "lot": "lot-9"},
    "attach": {"photo": "{picture}", "label": "before", "taken_at": "2026-11-22T10:05:00.000Z"},
    "sign": {"strokes": "{picture}", "signer": "Odile Martin", "shown": "one seal, two hours", "role": "tenant"},
    "refuse_signature": {"reason": "nobody was there"},
    "quote": {"lines": [PRICE], "total_cents": 900, "accepted": True},
    "take_payment": {"amount_cents": 900, "method": "card", "receipt": "r-1"},
    "request_follow_up": {"kind": "parts", "reason": "the valve is on order", "wanted_from": "2026-11-25T08:00:00.000Z"},
    "ask": {"about": "planned_start", "value": "2026-11-25T08:00:00.000Z", "reason": "agreed on site"},
    "accept": {"request": OTHER},
    "decline": {"request": OTHER, "reason": "no access"},
    "acknowledge": {"event": OTHER, "about": "planned_start"},
    "void": {"line": "{line}", "reason": "not needed"},
    "pause": {"reason": "lunch"},
    "resume": {},
    "done": {"work_done": "new seal"},
    "release": {"reason": "not my trade"},
    "not_done": {"reason_code": "absent", "reason": "nobody opened"},
    "leave": {"reason": "called away"},
    "site_change": {"site": "site-1", "contact": "Odile Martin", "access_code": "12A", "notes": "mind the dog"},
    "equipment_identify": {"equipment": "boiler-7", "serial": "s-77", "year_built": 2011},
    "stock_move": {"part": "seal-12", "quantity": "5", "cause": "loaded"},
    "shift_start": {"vehicle": "van-7"},
    "shift_note": {"text": "black ice on the pass"},
    "shift_end": {},
}
AGAIN = {"not_done": "travel", "leave": "start"}
"""Each of these ends a visit, so that another has to begin before it."""


PLACES = {"site": Site, "equipment": Equipment, "stock": Stock, "shift": Shift}
MADE_BY_THE_SDK = {"file", "keys", "shown_sha256", "signer_role", "field"}
"""Fields that no caller gives under that name."""

SDK_BY_COMMAND = {
    "outbox": {"outbox"},
    "status": {"status", "technician", "unlocked", "is_online", "settled", "uploaded", "moment_in_s"},
    "check": {"check"},
    "list": {"listed"},
    "show": {"state", "intervention", "shown"},
    "documents": {"documents"},
    "catalogue": {"catalogue"},
    "change_pin": {"change_pin"},
    "lock_policy": {"lock_policy", "use_lock"},
    "describe": {"describe"},
    "dealt": {"deal_with"},
    "try_again": {"try_again"},
    "unlock": {"unlock"},
    "sign_in": {"sign_in"},
    "lock": {"lock"},
    "sync": {"sync", "upload"},
    "offline": {"offline"},
    "online": {"online"},
    "tell": {"tell"},
    "policy": {"policy", "use"},
    "wait": {"wait_until"},
    "record": {"record", "record_all"},
    "attach": {"attach", "reader_box", "work_on", "van"},
    "site_change": {"site"},
    "equipment_identify": {"equipment"},
    "stock_move": {"stock"},
    "shift_start": {"shift"},
    "serve": {"start", "open", "close"},
    "enrol": {"enrol"},
}
"""By command, the members of `Device` that it stands for."""
INNER = {"opened", "parts", "present"}
"""Public for the parts of the SDK, not for its callers."""


async def test_every_event_of_the_field_has_a_method_and_a_command(device, tmp_path):
    picture = tmp_path / "boiler.jpg"
    picture.write_bytes(b"a photo of a boiler")
    line, written = "", set()
    for name, said in SAID.items():
        fields = set(COMMANDS[name].arguments.model_fields)
        if name in AGAIN:
            await run(device, AGAIN[name], BOILER)
        stand_in = {"{picture}": str(picture), "{line}": line}
        filled = {key: stand_in.get(str(value), value) for key, value in said.items()}
        made = await run(device, name, filled | (BOILER if "intervention" in fields else {}))
        first = made[0] if isinstance(made, list) else made
        line = first["id"] if name == "use_part" else line
        written.add(first["type"])
        assert set(EVENT_TYPES[first["type"]].model.model_fields) - MADE_BY_THE_SDK <= fields, name

    by_device = {name for name, kind in EVENT_TYPES.items() if AuthorKind.DEVICE in kind.writers}
    newest = {max((other for other in by_device if stem(other) == stem(name)), key=version) for name in by_device}
    assert {name for name in newest if stem(name) not in OWN_TESTIMONY} == written
    of_places = {f"{place}_{method}" for place, kind in PLACES.items() for method in methods(kind)}
    assert set(SAID) == (methods(Work) - {"state"}) | of_places


def methods(kind: type) -> set[str]:
    return {name for name, member in vars(kind).items() if name[0] != "_" and inspect.isfunction(member)}


def stem(type_name: str) -> str:
    return type_name.rpartition(".")[0]


def version(type_name: str) -> int:
    return int(type_name.rpartition(".v")[2])


def test_the_command_line_does_what_the_sdk_does_and_nothing_else():
    members = {name for name in dir(Device) if name[0] != "_"} - INNER
    assert {member for done in SDK_BY_COMMAND.values() for member in done} == members
    on_the_line = {name.replace("-", "_") for name in cli.main.commands} | cli.SERVED_ONLY
    assert on_the_line == set(COMMANDS) | {"serve", "enrol"}
    assert set(COMMANDS) | {"serve", "enrol"} == set(SDK_BY_COMMAND) | set(SAID)


async def test_what_does_not_fit_is_refused_by_name_and_nothing_is_recorded(device, tmp_path):
    boiler = device.work_on("leaky-boiler")
    await boiler.start()
    for wrong in (
        boiler.measure("pressure", "1,5", "bar"),
        boiler.set_equipment_state("boiler-7", "exploded"),
        boiler.comment("x" * 4001),
        device.site("site-1").change(contact="x" * 20_000),
        device.work_on("no id at all").start(),
    ):
        with pytest.raises(RecordInvalid):
            await wrong
    with pytest.raises(FileInvalid, match="MIME"):
        await boiler.attach(b"bytes without a name")
    assert [event.type for event in device.outbox().events] == ["intervention.started.v1"]


async def test_opened_and_unlocked_in_one_call(device, platform, hands, tmp_path):
    await device.work_on("leaky-boiler").start()
    await device.close()
    with pytest.raises(WrongPin):
        Device.open(tmp_path / "device", unlock="000000", clock=hands.clock())
    with pytest.raises(NoTechnician):
        Device.open(tmp_path / "device", unlock=PIN, technician="tech-ben", clock=hands.clock())
    async with Device.open(tmp_path / "device", unlock=PIN, clock=hands.clock(), transport=Wire(platform)) as again:
        assert again.intervention("leaky-boiler").status == "in_progress"
    async with Device.open(tmp_path / "device", clock=hands.clock(), transport=Wire(platform)) as locked:
        assert not locked.unlocked


# --- What became of it ---


async def test_each_event_and_photo_says_what_became_of_it_and_how_old_it_is(device, platform, hands):
    platform.refuse[2] = "event.type_not_allowed"
    platform.hold_from = 3
    boiler = device.work_on("leaky-boiler")
    await boiler.start()
    await boiler.comment("refused")
    await boiler.comment("held")
    hands.pass_ms(90_000)
    await boiler.attach(b"a photo of a boiler", mime="image/jpeg")
    await device.sync()
    await boiler.done()

    found = device.outbox(everything=True)
    assert [(one.state, one.age_s, one.waits_for) for one in found.events] == [
        (Standing.ADMITTED, 90, None),
        (Standing.REFUSED, 90, None),
        (Standing.HELD, 90, WaitsFor.SUPERVISOR),
        (Standing.HELD, 0, WaitsFor.SUPERVISOR),
        (Standing.QUEUED, 0, WaitsFor.TURN),
    ]
    assert [(one.state, one.waits_for) for one in found.files] == [(Standing.QUEUED, WaitsFor.TURN)]
    await device.offline()
    assert {one.waits_for for one in device.outbox().files} == {WaitsFor.NETWORK}
    device.online()
    await device.upload()
    assert [one.state for one in device.outbox(everything=True).files] == [Standing.ADMITTED]
    assert device.outbox().files == ()
    device.lock()
    assert {(one.type, one.stream) for one in device.outbox().events} == {(None, None)}


async def test_a_value_that_the_merge_put_aside_is_shown_until_somebody_has_read_it(device, platform):
    await device.site("site-1").change(notes="mind the dog")
    await device.sync()
    later = other_device("site:site-1", SiteChanged(notes="no dog any more"), platform.server_ms + 60_000)
    platform.put_document("site:site-1", [*platform.own_events("site:site-1"), later])
    await device.sync()

    (event,) = device.outbox().events
    assert (event.state, event.type) == (Standing.SET_ASIDE, "site.changed.v1")
    assert [(value.field, value.value, value.read) for value in event.set_aside] == [("notes", "mind the dog", False)]


def other_device(stream: str, body, at_ms: int) -> MergeEvent:
    """Another device wrote, which did not know of ours."""
    header = Header(
        id=OTHER,
        author="dev-2-a",
        seq=1,
        prev="0" * 64,
        type=type_of(body).name,
        stream=stream,
        visit=None,
        actor="tech-ben",
        token=None,
        at=format_time_ms(at_ms),
        boot=None,
        elapsed_ms=None,
        anchor=None,
        seen={},
        body_sha256="0" * 64,
        body_type="application/json",
    )
    return MergeEvent(narrowed(header), body, AuthorKind.DEVICE)
