"""A store that comes back wrong: it goes on under a new event key by itself, and nothing that it signed is lost."""

import shutil
from pathlib import Path

import pytest
import pytest_asyncio

from tests.fixtures.little_platform import PIN, Hands, Platform, Wire
from zb_contracts.enrolment import incarnation_author
from zb_contracts.events.fieldwork import CommentAdded, Done, Started
from zb_device.bound_secret import BoundSecret
from zb_device.database import open_database
from zb_device.device import Device
from zb_device.faults import Refused, Unreachable
from zb_device.folder import DATABASE_FILE
from zb_device.log import EventState
from zb_device.reporting import open_entries, status

BOILER = "intervention:leaky-boiler"
CELLAR = "intervention:dry-cellar"


@pytest_asyncio.fixture
async def restored(platform: Platform, hands: Hands, tmp_path: Path):
    """Two events of the leaky boiler were in the backup; a third, of the dry cellar, is in the ledger alone."""
    device = await Device.enrol(tmp_path / "device", platform.invitation(), PIN, clock=hands.clock(), transport=Wire(platform))
    await device.record(Started(), stream=BOILER)
    await device.record(CommentAdded(text="the seal is broken"), stream=BOILER)
    await device.sync()
    await device.close()
    shutil.copytree(tmp_path / "device", tmp_path / "backup")
    device = Device.open(tmp_path / "device", clock=hands.clock(), transport=Wire(platform))
    await device.unlock(PIN)
    await device.record(Started(), stream=CELLAR)
    await device.sync()
    await device.close()
    copy = Device.open(tmp_path / "backup", clock=hands.clock(), transport=Wire(platform))
    await copy.unlock(PIN)
    yield copy
    await copy.close()


def authors_of(platform: Platform) -> list[tuple[str, int, str, str | None]]:
    """What is in the ledger: which incarnation (1, 2 ...), number, kind, code."""
    names = list(platform.authors)
    rows = [(row.event.header, row) for row in platform.rows]
    return [(names.index(header.author) + 1, header.seq, row.kind, row.code) for header, row in rows]


async def test_a_restored_device_goes_on_by_itself_as_a_new_incarnation(restored, platform):
    await restored.sync()
    assert [request.replaces for request in platform.incarnations] == ["dev-1-a"]
    assert restored.parts.pinned.author == platform.newest != "dev-1-a"

    await restored.record(Done(), stream=BOILER)
    report = await restored.sync()

    assert (report.sent, report.mark) == (1, 1)
    assert authors_of(platform)[-1] == (2, 1, "admitted", None)
    assert platform.rows[-1].event.header.seen == {"dev-1-a": 2}
    assert restored.settled()


async def test_it_goes_on_at_once_where_only_the_broker_answers(restored, platform):
    http, platform.url = platform.url, "http://127.0.0.1:1"
    pinned = restored.parts.pinned
    restored.parts.settings.put(type(pinned)(**{**_fields(pinned), "ingest_url": platform.url}))
    restored._reopen()
    with pytest.raises(Unreachable):
        await restored.sync()

    recorded = await restored.record(Done(), stream=BOILER)
    assert recorded.seq == 1
    author = restored.parts.pinned.author
    assert author == incarnation_author("dev-1", restored.parts.keys.event.public)
    assert not status(restored)["registered"]
    with pytest.raises(Unreachable):
        await restored.sync()
    assert len(platform.rows) == 3

    restored.parts.settings.put(type(pinned)(**{**_fields(restored.parts.pinned), "ingest_url": http}))
    restored._reopen()
    await restored.sync()
    assert (authors_of(platform)[-1], platform.newest) == ((2, 1, "admitted", None), author)
    assert status(restored)["registered"]


async def test_what_it_recorded_before_it_knew_is_kept_as_forks_and_the_person_is_told(restored, platform):
    forks = [await restored.record(CommentAdded(text=f"after the restore {n}"), stream=BOILER) for n in range(3)]
    await restored.sync()

    assert authors_of(platform)[3:] == [
        (1, 3, "refusal", "event.fork"),
        (1, 4, "refusal", "event.link_broken"),
        (1, 5, "refusal", "event.link_broken"),
    ]
    entries = open_entries(restored, open_only=True, limit=10)
    assert [(entry["id"], entry["state"]) for entry in entries] == [(fork.id, "refused") for fork in forks]
    assert [entry["code"] for entry in entries] == ["event.fork", "event.link_broken", "event.link_broken"]
    assert status(restored)["problems"][-1]["code"] in ("sync.store_behind", "device.store_forked")
    assert [one["author"] for one in status(restored)["incarnations"]] == ["dev-1-a"]

    await restored.record(Done(), stream=BOILER)
    await restored.sync()
    # The forks are no knowledge of the ledger's events under the same numbers.
    assert platform.rows[-1].event.header.seen == {"dev-1-a": 2}
    assert restored.settled()


async def test_what_was_locked_goes_on_locked(restored, platform):
    restored.lock()
    await restored.record(CommentAdded(text="behind and locked"), stream=CELLAR)
    await restored.sync()
    await restored.record(CommentAdded(text="still locked"), stream=CELLAR)
    await restored.sync()
    assert authors_of(platform)[3:] == [(1, 3, "refusal", "event.fork"), (2, 1, "admitted", None)]
    assert platform.rows[-1].event.header.seen == {}


async def test_a_lost_answer_makes_no_second_incarnation(restored, platform):
    platform.lose_incarnations = 1
    with pytest.raises(Unreachable):
        await restored.sync()
    assert not status(restored)["registered"]
    await restored.sync()
    first, again = platform.incarnations
    assert first == again
    assert status(restored)["registered"]


async def test_a_copy_whose_place_was_taken_goes_on_and_what_it_had_is_held(restored, platform, hands, tmp_path):
    await restored.sync()
    original = Device.open(tmp_path / "device", clock=hands.clock(), transport=Wire(platform))
    await original.unlock(PIN)
    await original.record(Done(), stream=CELLAR)
    await original.sync()
    assert authors_of(platform)[-1] == (1, 4, "held", "event.held")
    assert original.parts.pinned.author == list(platform.authors)[2]
    await original.record(CommentAdded(text="still here"), stream=CELLAR)
    await original.sync()
    assert authors_of(platform)[-1] == (3, 1, "admitted", None)
    await original.close()


async def test_a_refused_incarnation_waits_with_its_events_and_stops_no_closed_log(restored, platform):
    platform.refuse_incarnations = "enrolment.incarnation_limit"
    await restored.record(CommentAdded(text="a fork"), stream=BOILER)
    with pytest.raises(Refused, match="incarnation_limit"):
        await restored.sync()
    assert authors_of(platform)[-1] == (1, 3, "refusal", "event.fork")
    await restored.record(Done(), stream=BOILER)
    with pytest.raises(Refused):
        await restored.sync()
    assert restored.parts.log.counts()[EventState.QUEUED] == 1
    assert len(restored.parts.closed) == 1

    platform.refuse_incarnations = ""
    await restored.sync()
    assert authors_of(platform)[-1] == (2, 1, "admitted", None)


async def test_the_screen_shows_the_events_of_all_incarnations(restored, platform):
    await restored.record(CommentAdded(text="a fork that nobody has answered yet"), stream=BOILER)
    platform.put_document(BOILER, platform.own_events(BOILER))
    restored.parts.succession.begin("sync.store_behind")
    restored._reopen()
    await restored.record(Done(), stream=BOILER)
    shown = restored.state(BOILER)
    assert [event.header.seq for event in shown.pending] == [1, 2, 3, 1]
    assert restored.intervention("leaky-boiler").status == "done"


async def test_a_store_of_version_1_is_upgraded_and_goes_on(tmp_path, platform, hands):
    device = await Device.enrol(tmp_path / "old", platform.invitation(), PIN, clock=hands.clock(), transport=Wire(platform))
    await device.record(Started(), stream=BOILER)
    await device.close()
    key = BoundSecret.read(tmp_path / "old").derive("device.db")
    connection = open_database(tmp_path / "old" / DATABASE_FILE, key, "device")
    connection.executescript((Path(__file__).parent / "device-1.sql").read_text())
    connection.close()

    device = Device.open(tmp_path / "old", clock=hands.clock(), transport=Wire(platform))
    await device.unlock(PIN)
    await device.record(Done(), stream=BOILER)
    report = await device.sync()
    assert (report.mark, [row.event.header.seq for row in platform.rows]) == (2, [1, 2])
    await device.close()


def _fields(pinned):
    return {name: getattr(pinned, name) for name in pinned.__struct_fields__}
