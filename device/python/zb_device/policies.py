"""When photos go and when an idle device asks: policies with names, against what the host says of connectivity and battery.

Events never wait for anything but a network; photos are large and may wait for an unmetered link, for charge, for the evening.
Python cannot know the conditions, so the host tells them. Pure: time, conditions and policy are arguments; nothing is sent.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from zb_device.faults import PolicyInvalid

DAY_MIN: Final = 24 * 60
IDLE_S_MIN: Final = 30
IDLE_S_MAX: Final = 6 * 3600


class Link(StrEnum):
    """What the host has for a network; `metered`: each byte costs, or is slow."""

    NONE = "none"
    METERED = "metered"
    UNMETERED = "unmetered"


class Conditions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a host knows and we cannot. One that tells nothing counts as on mains and on a link that costs nothing."""

    link: Link = Link.UNMETERED
    battery_percent: int | None = None
    charging: bool = False


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of each day, local time, as minutes since midnight; it may pass midnight."""

    start_min: int
    end_min: int

    @property
    def length_min(self) -> int:
        return (self.end_min - self.start_min) % DAY_MIN

    def holds(self, minute: int) -> bool:
        return (minute - self.start_min) % DAY_MIN < self.length_min


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What waits for what. Make it of a named one with `policy_of`."""

    name: str
    photos_link: Link = Link.UNMETERED
    """The least link on which photos go."""
    photos_battery_percent_min: int = 20
    """Below it photos wait, unless the device is charging."""
    photos_window: Window | None = None
    """Photos go only then; None: at any time."""
    photos_wait_h_max: int = 72
    """A photo that has waited so long lets all go, by any link and at any time: evidence must not stay away for ever."""
    morning: Window | None = Window(5 * 60, 6 * 60 + 30)
    """Each device fetches its day at a moment of its own within it, so that a fleet does not come all at once."""
    evening: Window | None = Window(17 * 60 + 30, 19 * 60 + 30)
    """Each device brings what it still has at a moment of its own within it."""
    idle_s: int = 300
    """An idle device asks so often for what is new."""
    idle_low_battery_s: int = 1_800
    zone: str = "Europe/Paris"
    """Whose local time the windows are in."""


STANDARD: Final = Policy(name="standard")
"""Photos by Wi-Fi with 20 % of charge; the day is fetched before it begins."""
SPARING: Final = Policy(
    name="sparing",
    photos_battery_percent_min=40,
    photos_window=Window(17 * 60 + 30, 6 * 60 + 30),
    idle_s=1_800,
    idle_low_battery_s=3_600,
)
"""For weak batteries and dear contracts: photos from the evening to the morning only, few questions."""
UNRESTRICTED: Final = Policy(
    name="unrestricted", photos_link=Link.METERED, photos_battery_percent_min=0, morning=None, evening=None
)
"""Everything at once."""
POLICIES: Final = {policy.name: policy for policy in (STANDARD, SPARING, UNRESTRICTED)}


class WaitsFor(StrEnum):
    """Why something that could go has not gone. `turn`: nothing but the next round."""

    NETWORK = "network"
    UNMETERED_LINK = "unmetered_link"
    BATTERY = "battery"
    WINDOW = "window"
    RECEIPT = "receipt"
    SUPERVISOR = "supervisor"
    SERVER = "server"
    TURN = "turn"


def policy_of(name: str, **changes: object) -> Policy:
    """A named policy with some of its values changed. PolicyInvalid names what is wrong."""
    if name not in POLICIES:
        raise PolicyInvalid(f"there is no policy {name!r}; there are {', '.join(POLICIES)}")
    plain = msgspec.to_builtins(POLICIES[name]) | msgspec.to_builtins(changes)
    try:
        policy = msgspec.convert(plain, Policy)
    except msgspec.ValidationError as fault:
        raise PolicyInvalid(f"the policy cannot be read: {fault}") from fault
    wrong = _wrong(policy)
    if wrong:
        raise PolicyInvalid(wrong)
    return policy


def checked(conditions: Conditions) -> Conditions:
    """The conditions, if they are possible. PolicyInvalid else."""
    if conditions.battery_percent is not None and not 0 <= conditions.battery_percent <= 100:
        raise PolicyInvalid(f"a battery of {conditions.battery_percent} %")
    return conditions


def photos_wait_for(policy: Policy, conditions: Conditions, now_ms: int, oldest_ms: int) -> WaitsFor | None:
    """What photos wait for, of which the oldest was attached at `oldest_ms`; None: they may go."""
    if conditions.link is Link.NONE:
        return WaitsFor.NETWORK
    if now_ms - oldest_ms >= policy.photos_wait_h_max * 3_600_000:
        return None
    if conditions.link is Link.METERED and policy.photos_link is Link.UNMETERED:
        return WaitsFor.UNMETERED_LINK
    if is_low(conditions, policy.photos_battery_percent_min):
        return WaitsFor.BATTERY
    if policy.photos_window and not policy.photos_window.holds(_minute(_local(policy, now_ms))):
        return WaitsFor.WINDOW
    return None


def idle_s(policy: Policy, conditions: Conditions) -> float:
    """How long a device with nothing on its way may rest."""
    return policy.idle_low_battery_s if is_low(conditions, policy.photos_battery_percent_min) else policy.idle_s


def until_appointment_s(policy: Policy, now_ms: int, share: float) -> float | None:
    """Until this device's next morning or evening moment, which lies at `share` (0 to 1) of the window; None without one."""
    now = _local(policy, now_ms)
    waits = [_until_s(window, now, share) for window in (policy.morning, policy.evening) if window]
    return min(waits, default=None)


def is_low(conditions: Conditions, percent_min: int) -> bool:
    """Whether the battery is too low for what can wait."""
    return not conditions.charging and conditions.battery_percent is not None and conditions.battery_percent < percent_min


def _until_s(window: Window, now: datetime, share: float) -> float:
    moment = timedelta(minutes=window.start_min, seconds=window.length_min * 60 * share)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    # A day on, by the wall clock: where it is 23 or 25 hours long the moment stays where people expect it.
    days = (midnight + timedelta(days=number) + moment for number in (-1, 0, 1))
    return next(left for left in ((day.astimezone(UTC) - now.astimezone(UTC)).total_seconds() for day in days) if left > 0)


def _local(policy: Policy, now_ms: int) -> datetime:
    return datetime.fromtimestamp(now_ms / 1000, ZoneInfo(policy.zone))


def _minute(local: datetime) -> int:
    return local.hour * 60 + local.minute


def _wrong(policy: Policy) -> str | None:
    windows = [window for window in (policy.photos_window, policy.morning, policy.evening) if window]
    if any(not 0 <= minute < DAY_MIN for window in windows for minute in (window.start_min, window.end_min)):
        return "a window begins and ends within 0 and 1439 minutes of the day"
    if not 0 <= policy.photos_battery_percent_min <= 100:
        return "a battery has 0 to 100 %"
    if not all(IDLE_S_MIN <= pause <= IDLE_S_MAX for pause in (policy.idle_s, policy.idle_low_battery_s)):
        return f"an idle device asks every {IDLE_S_MIN} to {IDLE_S_MAX} s"
    if policy.photos_wait_h_max < 1:
        return "photos may wait an hour at least"
    try:
        ZoneInfo(policy.zone)
    except (ZoneInfoNotFoundError, ValueError):
        return f"there is no time zone {policy.zone!r}"
    return None
