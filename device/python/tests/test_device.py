"""The device's promise: what the screen confirmed is signed, chained and on disk, and goes up when there is a network."""

from zb_contracts.envelope import GENESIS, check_signature, parse_event
from zb_contracts.events.fieldwork import Arrived, CommentAdded, Done, Started, TravelStarted
from zb_device.log import EventState

BOILER = "intervention:leaky-boiler"


async def test_recorded_events_are_a_chain_that_the_contracts_alone_verify(device, platform):
    first = await device.record(TravelStarted(), stream=BOILER)
    await device.record(Arrived(), stream=BOILER)
    started = await device.record(Started(), stream=BOILER)
    await device.record(CommentAdded(text="water under the boiler"), stream="intervention:dry-cellar")
    done = await device.record(Done(), stream=BOILER)

    events = [parse_event(signed) for signed in device.parts.log.opened(device.opened().unlocked.reader, "tech-anna")]

    previous = GENESIS
    for seq, event in enumerate(events, start=1):
        check_signature(platform.event_key, event)
        assert (event.header.seq, event.header.prev) == (seq, previous)
        previous = event.header_hash.hex()
    assert [started.visit, done.visit] == [first.id, first.id]
    assert events[3].header.visit is None
    assert events[4].header.seen == {"dev-1-a": 3}
    assert {event.header.actor for event in events} == {"tech-anna"}


async def test_a_sync_sends_everything_and_receipts_move_the_mark(device, platform):
    for body in (TravelStarted(), Started(), Done()):
        await device.record(body, stream=BOILER)

    report = await device.sync()

    assert (report.sent, report.receipts, report.mark) == (3, 3, 3)
    assert device.parts.log.counts()[EventState.ADMITTED] == 3
    assert device.settled()
    assert [row.event.header.type for row in platform.rows][-1] == "intervention.done.v1"
