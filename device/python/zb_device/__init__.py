"""Zone Blanche on the technician's device: what is recorded is signed, kept encrypted, and sent when there is a network.

`Device` is the whole SDK, `blocking.Device` the same without an event loop; the other modules are its parts. It needs
`zb_contracts` and no server package.
"""

from zb_device.device import Device
from zb_device.enrolment import Invitation, Places, invited
from zb_device.faults import DeviceFault
from zb_device.listed import Listed, Which
from zb_device.policies import Conditions, Link, Policy, WaitsFor, Window, policy_of
from zb_device.recording import Draft, Recorded
from zb_device.settings import LockPolicy
from zb_device.standing import Outbox, Standing
from zb_device.syncing import SyncReport

__all__ = [
    "Conditions",
    "Device",
    "DeviceFault",
    "Draft",
    "Invitation",
    "Link",
    "Listed",
    "LockPolicy",
    "Outbox",
    "Places",
    "Policy",
    "Recorded",
    "Standing",
    "SyncReport",
    "WaitsFor",
    "Which",
    "Window",
    "invited",
    "policy_of",
]
