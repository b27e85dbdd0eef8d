"""Zone Blanche on the technician's device: what is recorded is signed, kept encrypted, and sent when there is a network.

`Device` is the whole SDK, `blocking.Device` the same without an event loop; the other modules are its parts. It needs
`zb_contracts` and no server package.
"""

from zb_device.device import Device
from zb_device.enrolment import Invitation, Places, invited
from zb_device.policies import Conditions, Link, Policy, policy_of
from zb_device.recording import Recorded
from zb_device.standing import Outbox, Standing

__all__ = [
    "Conditions",
    "Device",
    "Invitation",
    "Link",
    "Outbox",
    "Places",
    "Policy",
    "Recorded",
    "Standing",
    "invited",
    "policy_of",
]
