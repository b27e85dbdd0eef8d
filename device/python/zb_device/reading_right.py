"""Who may read on this device now, decided without a network: a session token that holds, a clock that can be trusted, no
suspension and no revocation.

Losing the right locks reading and nothing else: recording and sending need none of it. It keeps what it needs in `settings`;
closing the read model is `device`'s matter, destroying it is `ending`'s.
"""

from dataclasses import dataclass
from typing import Final

from zb_device.clock import AnchorMark, Clock, RealMark, TrustedTime, elapsed_since
from zb_device.faults import ClockUntrusted, ReadingSuspended, Refused, SessionExpired
from zb_device.keys import DeviceKeys
from zb_device.log import Head, Log
from zb_device.real_time import RealTime
from zb_device.settings import KeptSessions, Pinned, ReadingSuspension, Session, Settings
from zb_device.tokens import read_again
from zb_device.trust import vouches

CLOCK_TOLERANCE_MS: Final = 300_000
"""A clock that goes back by less was set right, not set back."""


@dataclass(frozen=True, slots=True)
class ReadingRight:
    """The right of one store's technicians."""

    settings: Settings
    pinned: Pinned
    keys: DeviceKeys
    log: Log
    clock: Clock
    real_time: RealTime

    def check(self, technician: str) -> None:
        """Returns when the technician may read now. SessionExpired, ClockUntrusted or ReadingSuspended else."""
        suspension = self.settings.get(ReadingSuspension)
        if suspension is not None:
            raise ReadingSuspended(f"the office suspended reading on this device ({suspension.cause}); recording goes on")
        session = self.session_of(technician)
        if session is None:
            raise SessionExpired(f"{technician} has no session on this device: connect once, so that it can be renewed")
        check_time(session, self.real(), self.real_time(), self.went_back())

    def session_of(self, technician: str) -> Session | None:
        """The technician's newest token for which the ledger vouches; what the store says beside the token is not believed."""
        kept, current = self.settings.get(KeptSessions) or KeptSessions(), self.settings.get(Session)
        found = [self._held(one) for one in (*kept.sessions, *([current] if current else []))]
        own = [one for one in found if one is not None and one.technician == technician]
        return max(own, key=lambda session: session.expires_ms, default=None)

    def _held(self, kept: Session) -> Session | None:
        try:
            session = read_again(kept, device=self.pinned.device, login=self.keys.login_text)
        except Refused:
            # It opens nothing; the caller tells the person that there is no session.
            return None
        return session if vouches(self.settings.get(Pinned) or self.pinned, session) else None

    def real(self) -> TrustedTime:
        """Real time as the newest signed one and the suspend-proof time since bound it; open above after a reboot."""
        mark = self.settings.get(RealMark)
        return mark.trusted(self.clock) if mark else TrustedTime(0, None)

    def went_back(self) -> bool:
        """Whether the wall clock stands before what this device has signed or heard, and nothing since says what time it is."""
        anchored = elapsed_since(self.settings.get(AnchorMark), self.clock) is not None
        return not anchored and is_behind(self.clock.wall_ms(), self.log.head())


def is_behind(wall_ms: int, head: Head) -> bool:
    """Whether a wall clock contradicts the store."""
    return wall_ms < max(head.at_ms, head.high_water_ms) - CLOCK_TOLERANCE_MS


def check_time(session: Session, real: TrustedTime, clock_ms: int, went_back: bool) -> None:
    """Returns while the session lasts. With an exact trusted time that alone decides; else the clock, while it can be right."""
    if real.exact:
        if real.earliest_ms >= session.expires_ms:
            raise SessionExpired("the session has ended: connect once to renew it; recording and sending go on")
        return
    if went_back or clock_ms < real.earliest_ms - CLOCK_TOLERANCE_MS:
        raise ClockUntrusted("the clock was set back: connect once, so that the device learns the time; recording goes on")
    if clock_ms >= session.expires_ms:
        raise SessionExpired("the session has ended: connect once to renew it; recording and sending go on")
