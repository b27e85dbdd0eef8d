"""The device on a real nats-server with the real account layout: segments, sync and hints; a full quota; a bad nonce."""

import time

import pytest
import pytest_asyncio

from zb.nats import NatsServer
from zb_chassis.claims import decode
from zb_contracts import subjects
from zb_contracts.events.fieldwork import CommentAdded, Started
from zb_contracts.keys import certification_statement
from zb_device.device import Device
from zb_device.faults import NonceSuspicious, Refused, Unreachable
from zb_device.log import EventState
from zb_device.transport import check_stored

BOILER = "intervention:leaky-boiler"
PIN = "271828"
DEADLINE_S = 20


@pytest_asyncio.fixture
async def ledger(broker, ingest, platform):
    """Admission and sync of the little platform, reached through the real broker."""
    platform.nats_url = broker.url
    platform.token = lambda key, device, technician: broker.layout.device_token(
        key, device, technician, issued_at=int(time.time())
    )
    responder = await broker.connect("field-ingest-sync")

    async def answer(message) -> None:
        stream = ingest.jetstream()
        info = await stream.stream_info(subjects.FIELD.name)
        for seq in range(max(1, info.state.first_seq), info.state.last_seq + 1):
            platform.admit((await stream.get_msg(subjects.FIELD.name, seq)).data)
        await message.respond(platform.answer(message.data))

    await responder.subscribe(subjects.SYNC_PATTERN, subjects.SYNC_QUEUE, cb=answer)
    await responder.flush()
    yield responder
    await responder.close()


@pytest_asyncio.fixture
async def connected(ledger, platform, tmp_path):
    device = await Device.enrol(tmp_path / "connected", platform.invitation(), PIN)
    yield device
    await device.close()


async def test_segments_go_up_and_receipts_come_down_through_the_real_broker(connected, platform):
    await connected.record(Started(), stream=BOILER)
    report = await connected.sync()
    assert (report.sent, report.mark) == (1, 1)
    assert connected.settled()


async def test_a_hint_makes_a_connected_device_ask_again(connected, platform, ledger):
    connected.start()
    assert await connected.wait_until(lambda: bool(platform.requests), DEADLINE_S)
    asked = len(platform.requests)
    await ledger.publish(subjects.hint("dev-1"), b"ignored")
    assert await connected.wait_until(lambda: len(platform.requests) > asked, DEADLINE_S)


async def test_a_full_quota_is_waited_for_and_nothing_is_lost(connected, platform, streams):
    config = (await streams.stream_info(subjects.FIELD.name)).config
    config.max_msgs_per_subject = 1
    await streams.update_stream(config)
    await connected.record(Started(), stream=BOILER)
    await connected.sync()
    await connected.record(CommentAdded(text="one too many"), stream=BOILER)

    with pytest.raises(Refused) as caught:
        await connected.sync()

    assert (caught.value.problem, caught.value.retryable) == ("broker.full", True)
    assert connected.parts.log.counts()[EventState.QUEUED] == 1
    await streams.purge_stream(subjects.FIELD.name)
    config.max_msgs_per_subject = 100
    await streams.update_stream(config)
    await connected.sync()
    assert connected.parts.log.counts()[EventState.QUEUED] == 0


async def test_the_session_token_is_read_as_its_issuer_wrote_it(connected, platform):
    session = connected.parts.sessions.current()
    claims = decode(session.token, now=time.time())
    assert session.technician == "tech-anna"
    assert (claims.name, claims.tags) == ("dev-1", ("t:tech-anna",))
    assert session.expires_ms > time.time() * 1000


async def test_without_a_broker_the_device_says_unreachable_and_keeps_its_work(platform, tmp_path):
    device = await Device.enrol(tmp_path / "alone", platform.invitation(), PIN)
    await device.record(Started(), stream=BOILER)
    with pytest.raises(Unreachable):
        await device.sync()
    assert device.parts.log.counts()[EventState.QUEUED] == 1
    await device.close()


async def test_the_login_key_signs_no_statement_that_poses_as_a_nonce(device):
    keys = device.parts.keys
    statement = certification_statement(keys.login.public, bytes(32), bytes(32)).decode("latin-1")
    for nonce in (statement, "short but spaced", "x" * 65):
        with pytest.raises(NonceSuspicious):
            keys.answer_nonce(nonce)
    assert keys.answer_nonce("LqKh5vM_3fV4xw")


@pytest.mark.parametrize(
    "answer", [b"", b"not json", b"[]", b"7", b"{}", b'{"error": "no"}', b'{"stream": 1, "seq": "x"}', b"\xff"]
)
def test_an_answer_that_is_no_acknowledgement_stores_nothing(answer):
    with pytest.raises(Unreachable, match="no acknowledgement"):
        check_stored(answer)


def test_a_second_copy_is_stored_as_well_as_the_first():
    check_stored(b'{"stream": "FIELD", "seq": 3, "duplicate": true}')


async def test_of_two_addresses_the_one_that_answers_is_used(ledger, platform, tmp_path):
    """A depot's broker before the hub's: the depot is away."""
    platform.nats_url = f"nats://127.0.0.1:1,{platform.nats_url}"
    device = await Device.enrol(tmp_path / "two", platform.invitation(), PIN)
    await device.record(Started(), stream=BOILER)
    assert (await device.sync()).mark == 1
    await device.close()


async def test_an_address_where_nobody_answers_is_not_tried_first_the_next_time(broker, ledger, platform, tmp_path):
    """A depot whose way to the hub is down lets the device in and answers nothing."""
    with NatsServer(tmp_path / "depot", broker.server.keys_dir) as silent:
        platform.nats_url = f"{silent.url},{platform.nats_url}"
        device = await Device.enrol(tmp_path / "two", platform.invitation(), PIN)
        await device.record(Started(), stream=BOILER)
        with pytest.raises(Unreachable):
            await device.sync()
        assert (await device.sync()).mark == 1
        await device.close()
