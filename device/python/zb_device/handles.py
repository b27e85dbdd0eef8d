"""What can be recorded, by what it is about: an intervention, a site, a piece of equipment, a stock, the day. `Device` has these.

They only name streams; `work` and `surroundings` say what stands on each.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast
from zoneinfo import ZoneInfo

from zb_device.faults import NoTechnician
from zb_device.surroundings import Equipment, Shift, Site, Stock
from zb_device.work import Work

if TYPE_CHECKING:
    from zb_device.device import Device


class Handles:
    """The part of `Device` by which typed events are recorded."""

    @property
    def _device(self) -> "Device":
        return cast("Device", self)

    def work_on(self, intervention: str) -> Work:
        """Everything that can be recorded on an intervention, by method."""
        return Work(self._device, intervention)

    def site(self, site: str) -> Site:
        return Site(self._device, f"site:{site}")

    def equipment(self, equipment: str) -> Equipment:
        return Equipment(self._device, f"equipment:{equipment}")

    def stock(self, stock: str | None = None) -> Stock:
        """A depot's or van's stock; without a name the technician's own van."""
        return Stock(self._device, f"stock:{stock or self.van}")

    def shift(self, day: str | None = None) -> Shift:
        """The technician's working day (`20261122`); without a name today's, by the policy's time zone."""
        device = self._device
        today = datetime.fromtimestamp(device.clock.wall_ms() / 1000, UTC).astimezone(ZoneInfo(device.policy.zone))
        return Shift(device, f"shift:{self.present()}-{day or today.strftime('%Y%m%d')}")

    @property
    def van(self) -> str:
        """The stock of the technician's van. NoTechnician where nobody has signed in."""
        return f"van-{self.present()}"

    def present(self) -> str:
        """Who works here. NoTechnician where nobody has signed in."""
        technician = self._device.technician
        if technician is None:
            raise NoTechnician("nobody has signed in on this device: sign in first")
        return technician
