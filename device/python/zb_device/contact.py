"""What a device does over the network, by hand and in the background, and what it is told of link, charge and policy.

`Device` has these. They only name what there is; `network` decides when, `rounds` does it.
"""

from collections.abc import Callable

from zb_device.background import RETRY_S_MAX
from zb_device.network import Network
from zb_device.policies import Conditions, Policy
from zb_device.syncing import SyncReport


class Contact:
    """The part of `Device` that has to do with the platform."""

    network: Network

    # --- By hand ---

    async def sync(self) -> SyncReport:
        """Renew the session where due, send, ask, apply. Unreachable, Refused or a Problem else; nothing is lost by it."""
        return await self.network.sync()

    async def upload(self, *, regardless: bool = False) -> int:
        """Try each waiting file once, if the policy lets photos go now (or `regardless` of it); how many are stored now."""
        return await self.network.upload(regardless=regardless)

    # --- In the background ---

    def start(self, *, retry_s_max: float = RETRY_S_MAX) -> None:
        """Sync and upload in the background from now on; pauses after a failure grow to `retry_s_max`."""
        self.network.start(retry_s_max)

    async def offline(self) -> None:
        """Cut the device's own connections, as a flight mode does."""
        await self.network.switch_off()

    def online(self) -> None:
        """Use the network again."""
        self.network.switch_on()

    @property
    def is_online(self) -> bool:
        """Neither switched off by a person nor without a link, as far as the host said."""
        return self.network.is_online

    def settled(self) -> bool:
        """The ledger has had its word on every event."""
        return self.network.settled()

    def uploaded(self) -> bool:
        """The evidence store has had its word on every photo and signature."""
        return self.network.uploaded()

    async def wait_until(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for what a background round brings; False when the time is over."""
        return await self.network.wait_until(reached, timeout_s)

    # --- When ---

    def tell(self, conditions: Conditions) -> None:
        """What the host knows of link and battery; call it whenever that changes. PolicyInvalid for what cannot be."""
        self.network.tell(conditions)

    @property
    def policy(self) -> Policy:
        """What waits for what."""
        return self.network.policy

    def use(self, policy: Policy) -> None:
        """Another policy from now on, kept in the store: one of `policies`, or one made with `policy_of`."""
        self.network.use(policy)

    def moment_in_s(self) -> float | None:
        """Until this device's next moment of the morning or evening; None where the policy has none. A host whose system puts
        programs to sleep sets an alarm for it."""
        return self.network.moment_in_s()
