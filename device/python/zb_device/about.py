"""What the device tells of itself beside a sync, for those who look after it: make, system, app, charge, what waits.

Told where it has changed, and again until an answer came. The host may say better what this machine says of itself. It decides
nothing and holds nothing personal; `syncing` sends it.
"""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from zb_contracts import canonical
from zb_contracts.envelope import digest
from zb_contracts.sync import About
from zb_device.clock import Clock
from zb_device.database import Connection, transaction
from zb_device.logbook import EventState, Logbook
from zb_device.media import MediaStore
from zb_device.settings import AboutTold, Host, Settings

TEXT_MAX: Final = 64
BATTERY_STEP_PERCENT: Final = 10
"""A charge is told in steps: each percent would make every sync one with news."""
MODEL_FILES: Final = (Path("/sys/firmware/devicetree/base/model"), Path("/sys/class/dmi/id/product_name"))


@dataclass(slots=True)
class AboutDevice:
    """One store's word on its device. `battery_percent` is what the host said last."""

    connection: Connection
    settings: Settings
    media: MediaStore
    clock: Clock
    battery_percent: int | None = None

    def news(self) -> About | None:
        """What to tell under a number of its own; None where nothing changed since an answer came."""
        now, told = self._now(), self.settings.get(AboutTold) or AboutTold()
        if _digest(now) == told.answered:
            return None
        number = told.number + 1
        # Before it is sent: under one number the server never hears two different things.
        with transaction(self.connection):
            self.settings.put(msgspec.structs.replace(told, number=number))
        return msgspec.structs.replace(now, number=number, at_ms=self.clock.wall_ms())

    def answered(self, told: About) -> None:
        """An answer came to what was told."""
        with transaction(self.connection):
            self.settings.put(AboutTold(number=told.number, answered=_digest(told)))

    def describe(self, host: Host) -> None:
        """Keep what the host says of make, system and app. What it leaves empty stays as it said it, else the machine says it."""
        said = {name: text for name, text in msgspec.to_builtins(host).items() if text}
        with transaction(self.connection):
            self.settings.put(msgspec.structs.replace(self.settings.get(Host) or Host(), **said))

    def _now(self) -> About:
        waiting = [one for one in Logbook(self.connection).waiting() if one.state is not EventState.HELD]
        host, battery = self.settings.get(Host) or Host(), self.battery_percent
        return About(
            number=0,
            at_ms=0,
            model=_short(host.model or _model()),
            os=_short(host.os or f"{platform.system()} {platform.release()}"),
            app=_short(host.app or f"zb-device {version('zb-device')}"),
            battery_percent=None if battery is None else battery - battery % BATTERY_STEP_PERCENT,
            waiting_events=sum(one.count for one in waiting),
            oldest_waiting_ms=min((one.oldest_ms for one in waiting), default=None),
            waiting_files=len(self.media.waiting()),
        )


def _digest(about: About) -> str:
    return digest(canonical.encode(msgspec.to_builtins(msgspec.structs.replace(about, number=0, at_ms=0))))


def _model() -> str:
    """The machine's make, where it says one; a mere architecture would hide what enrolment said."""
    for file in MODEL_FILES:
        try:
            return file.read_text("utf-8").strip("\0\n ")
        except (OSError, UnicodeDecodeError):
            continue
    return ""


def _short(text: str) -> str | None:
    """As much of it as may be told; None for nothing."""
    return "".join(filter(str.isprintable, text))[:TEXT_MAX].strip() or None
