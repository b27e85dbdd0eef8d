"""Sessions off line: a token opens reading only as itself and only as long as it lasts by a clock that can be trusted.

What locks reading never stops recording or sending.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.fixtures.little_platform import PIN, Hands, Platform, Wire
from zb_contracts.events.fieldwork import CommentAdded, Started
from zb_contracts.keys import SigningKey
from zb_contracts.sync import Command
from zb_device.clock import Clock
from zb_device.database import transaction
from zb_device.device import Device
from zb_device.faults import ClockUntrusted, Locked, ReadingSuspended, Refused, SessionExpired, Unreachable
from zb_device.reporting import status
from zb_device.settings import KeptSessions, LockPolicy, Session

BOILER = "intervention:leaky-boiler"
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


class Pocket:
    """Real clocks that the test moves: `wall` wrong or right, `passed` as time goes by."""

    def __init__(self, hands: Hands) -> None:
        self.hands = hands
        self.passed_ms = 0
        self.wall_error_ms = 0

    def clock(self) -> Clock:
        right = self.hands.clock()
        return replace(
            right,
            wall_ms=lambda: right.wall_ms() + self.wall_error_ms,
            real_ms=lambda: right.real_ms() + self.passed_ms + self.wall_error_ms,
            real_elapsed_ms=lambda: 1_000_000 + self.passed_ms,
        )

    def pass_ms(self, ms: int, platform: Platform) -> None:
        """Time goes by, here and there."""
        self.passed_ms += ms
        self.hands.pass_ms(ms)
        platform.real_error_ms += ms
        platform.server_ms += ms


@pytest.fixture
def pocket(hands: Hands) -> Pocket:
    return Pocket(hands)


@pytest_asyncio.fixture
async def mine(platform: Platform, pocket: Pocket, tmp_path: Path):
    """An unlocked device of tech-anna on the clocks of `pocket`, with one event and one document."""
    made = await Device.enrol(tmp_path / "mine", platform.invitation(), PIN, clock=pocket.clock(), transport=Wire(platform))
    made.parts.vault.set_policy(LockPolicy(idle_s=8 * 3600))
    await made.record(Started(), stream=BOILER)
    await made.sync()
    yield made
    await made.close()


async def again(device: Device, pocket: Pocket, *, boot: str | None = None) -> Device:
    """The same folder in another process, after a reboot where `boot` names a new one."""
    folder, transport = device._folder.path, device.network.transport
    await device.close()
    pocket.hands.boot = boot or pocket.hands.boot
    return Device.open(folder, clock=pocket.clock(), transport=transport)


async def records_and_sends(device: Device, platform: Platform) -> None:
    before = len(platform.rows)
    await device.record(CommentAdded(text="recorded all the same"), stream=BOILER)
    await device.sync()
    assert len(platform.rows) == before + 1


async def test_a_token_that_expired_ten_days_ago_locks_reading_and_neither_recording_nor_sending(mine, platform, pocket):
    platform.connected = False
    url, platform.url = platform.url, ""
    pocket.pass_ms(12 * DAY_MS, platform)
    with pytest.raises(Locked):
        mine.state(BOILER)
    assert not mine.unlocked
    with pytest.raises(SessionExpired, match="connect once"):
        await mine.unlock(PIN)
    await mine.record(CommentAdded(text="ten days later"), stream=BOILER)
    assert status(mine)["session"]["reading"] == "device.session_expired"

    platform.connected, platform.url = True, url
    await mine.sync()
    assert len(platform.rows) == 2
    await mine.unlock(PIN)
    assert [line.value["text"] for line in mine.intervention("leaky-boiler").lines] == ["ten days later"]


async def test_reading_ends_when_the_session_does_in_the_middle_of_work(mine, platform, pocket):
    pocket.pass_ms(47 * HOUR_MS, platform)
    await mine.unlock(PIN)
    mine.state(BOILER)
    pocket.pass_ms(HOUR_MS, platform)
    with pytest.raises(SessionExpired):
        mine.state(BOILER)
    assert not mine.unlocked
    await records_and_sends(mine, platform)


async def test_setting_the_clock_back_gives_an_ended_session_no_time(mine, platform, pocket):
    pocket.pass_ms(3 * DAY_MS, platform)
    pocket.wall_error_ms = -2 * DAY_MS
    with pytest.raises(SessionExpired):
        await mine.unlock(PIN)


async def test_a_year_back_after_a_reboot_locks_reading_until_the_time_is_known(mine, platform, pocket):
    pocket.wall_error_ms = -365 * DAY_MS
    other = await again(mine, pocket, boot="boot-2")
    with pytest.raises(ClockUntrusted, match="set back"):
        await other.unlock(PIN)
    made = await other.record(CommentAdded(text="the clock is wrong"), stream=BOILER)
    assert made.seq == 2
    assert status(other)["session"]["reading"] == "device.clock_untrusted"

    await other.sync()
    await other.unlock(PIN)
    assert [line.value["text"] for line in other.intervention("leaky-boiler").lines] == ["the clock is wrong"]
    await other.close()


async def test_a_reboot_alone_locks_nothing(mine, platform, pocket):
    platform.connected = False
    pocket.pass_ms(HOUR_MS, platform)
    other = await again(mine, pocket, boot="boot-2")
    await other.unlock(PIN)
    assert other.state(BOILER).pending
    await other.close()


async def test_a_clock_far_ahead_after_a_reboot_locks_rather_than_trusts(mine, pocket):
    pocket.wall_error_ms = 400 * DAY_MS
    other = await again(mine, pocket, boot="boot-2")
    with pytest.raises(SessionExpired):
        await other.unlock(PIN)
    await other.close()


async def test_a_store_whose_expiry_was_edited_believes_the_signed_token(mine, platform, pocket):
    session = mine.parts.settings.get(Session)
    with transaction(mine.parts.settings._db):
        mine.parts.settings.put(Session(token=session.token, token_id="x", technician="tech-anna", expires_ms=2**50))
    pocket.pass_ms(3 * DAY_MS, platform)
    with pytest.raises(SessionExpired):
        await mine.unlock(PIN)


async def test_a_token_that_was_changed_opens_nothing(mine):
    token = mine.parts.settings.get(Session).token
    head, claims, signature = token.split(".")
    with transaction(mine.parts.settings._db):
        mine.parts.settings.put(Session(token=f"{head}.{claims}.{signature[::-1]}", token_id="x", technician=None, expires_ms=0))
        mine.parts.settings.put(KeptSessions())
    mine.lock()
    with pytest.raises(SessionExpired, match="no session"):
        await mine.unlock(PIN)


@pytest.mark.parametrize("what", ["login", "endless", "nonsense"])
async def test_a_token_of_somebody_else_is_refused_at_its_renewal_and_the_old_one_stays(mine, platform, what):
    before = mine.parts.settings.get(Session)
    if what == "login":
        platform.login_key = SigningKey.generate() and "U" + platform.login_key[1:][::-1]
    if what == "endless":
        platform.session_s = 73 * 3600
    forged = platform.make_token("tech-anna")
    platform.make_token = lambda _: "no token at all" if what == "nonsense" else forged
    platform.login_key = mine.parts.keys.login_text
    with pytest.raises(Refused) as caught:
        await mine.parts.sessions.renew("tech-anna", mine._client)
    assert caught.value.problem == "session.token"
    assert mine.parts.settings.get(Session) == before


async def test_a_token_for_which_the_ledger_does_not_vouch_sends_and_opens_no_reading(mine, platform, pocket):
    """Whoever holds the issuer's address would else give a thief with the PIN sessions for ever."""
    pocket.pass_ms(47 * HOUR_MS, platform)
    platform.voucher = SigningKey.generate()
    await mine.parts.sessions.renew("tech-anna", mine._client)
    assert status(mine)["problems"][-1]["code"] == "session.unvouched"
    assert not mine.unlocked, "nobody used it, and its status says so"
    await mine.unlock(PIN)
    assert mine.state(BOILER), "what the ledger vouched for lasts as long as it would have"
    pocket.pass_ms(2 * HOUR_MS, platform)
    with pytest.raises(SessionExpired):
        mine.state(BOILER)
    await records_and_sends(mine, platform)

    platform.voucher = None
    await mine.parts.sessions.renew("tech-anna", mine._client)
    await mine.unlock(PIN)
    assert mine.state(BOILER)


async def test_a_token_under_a_ledger_key_that_is_new_to_the_device_opens_reading(mine, platform, pocket):
    platform.rotate()
    await mine.parts.sessions.renew("tech-anna", mine._client)
    mine.lock()
    pocket.pass_ms(47 * HOUR_MS, platform)
    await mine.unlock(PIN)
    assert mine.state(BOILER)


async def test_a_renewal_whose_answer_was_lost_is_asked_again_and_costs_nothing(mine, platform):
    before = mine.parts.settings.get(Session)
    platform.lose_tokens = 1
    with pytest.raises(Unreachable):
        await mine.parts.sessions.renew("tech-anna", mine._client)
    assert mine.parts.settings.get(Session) == before
    mine.state(BOILER)
    await mine.parts.sessions.renew("tech-anna", mine._client)
    assert mine.parts.settings.get(Session) != before


async def test_a_suspended_device_reads_nothing_until_an_answer_no_longer_says_so(mine, platform):
    platform.commands = (Command(kind="suspend", argument="administrator"),)
    await mine.sync()
    assert not mine.unlocked
    with pytest.raises(ReadingSuspended):
        await mine.unlock(PIN)
    await records_and_sends(mine, platform)

    platform.commands = ()
    await mine.sync()
    await mine.unlock(PIN)
    assert mine.state(BOILER)


async def test_each_of_two_technicians_reads_by_a_session_of_their_own(mine, platform, pocket):
    platform.session_s = 24 * 3600
    await mine.sign_in("tech-bert", "another passphrase")
    pocket.pass_ms(30 * HOUR_MS, platform)
    with pytest.raises(SessionExpired):
        await mine.unlock("another passphrase", "tech-bert")
    await mine.unlock(PIN, "tech-anna")
    assert mine.state(BOILER)


async def test_on_a_pools_device_each_signs_in_with_a_token_of_their_own_and_takes_over_again_without_one(mine, platform):
    platform.is_pool = True
    with pytest.raises(Refused) as caught:
        await mine.sign_in("tech-bert", "another passphrase")
    assert (caught.value.problem, mine.technician) == ("access.forbidden", "tech-anna")
    await mine.sign_in("tech-bert", "another passphrase", person="token-of-tech-bert")
    await records_and_sends(mine, platform)

    await mine.unlock(PIN, "tech-anna")
    await records_and_sends(mine, platform)
    assert mine.parts.sessions.current().technician == "tech-anna"


async def test_a_pools_session_that_has_ended_is_renewed_by_its_person_alone(mine, platform, pocket):
    platform.is_pool = True
    pocket.pass_ms(50 * HOUR_MS, platform)
    await records_and_sends(mine, platform)  # in a drain session
    with pytest.raises(SessionExpired):
        await mine.sign_in("tech-anna", PIN)
    await mine.sign_in("tech-anna", PIN, person="token-of-tech-anna")
    assert mine.state(BOILER)


async def test_an_unlocked_device_that_nobody_uses_locks_itself(mine, platform, pocket):
    mine.parts.vault.set_policy(LockPolicy(idle_s=60))
    pocket.pass_ms(59_000, platform)
    mine.state(BOILER)
    pocket.pass_ms(61_000, platform)
    with pytest.raises(Locked, match="60 s"):
        mine.state(BOILER)
    await mine.unlock(PIN)
    pocket.pass_ms(61_000, platform)
    await mine.record(CommentAdded(text="with wet hands"), stream=BOILER)
    assert not mine.unlocked, "recording does not keep a forgotten screen open"


async def test_the_timer_locks_while_nobody_asks(mine):
    mine.parts.vault.set_policy(LockPolicy(idle_s=30))
    mine.lock()
    await mine.unlock(PIN)
    mine._guard.idle_s = lambda: 0
    mine._guard._due()
    assert not mine.unlocked
