"""Every refusal that arises on the device itself, each once, with a stable code.

What the server refuses is a `zb_contracts.problems.Problem` and keeps its own code. `retryable` says whether the same call
can succeed later without a person's help.
"""

from typing import ClassVar


class DeviceFault(Exception):
    """A refusal of the device. `code` is stable; `str()` says what was wrong and what to do."""

    code: ClassVar[str] = "device.fault"
    retryable: bool = False


class NotEnrolled(DeviceFault):
    """The folder holds no enrolled device."""

    code = "device.not_enrolled"


class AlreadyEnrolled(DeviceFault):
    """The folder holds a device already: a second one needs a folder of its own."""

    code = "device.already_enrolled"


class DeviceBusy(DeviceFault):
    """Another process has this device open."""

    code = "device.busy"
    retryable = True


class Locked(DeviceFault):
    """Reading needs an unlocked read model."""

    code = "device.locked"


class SessionExpired(Locked):
    """The technician's session has ended, or there is none: reading is locked until it is renewed."""

    code = "device.session_expired"


class ClockUntrusted(Locked):
    """The clock was set back, so nobody can say whether the session lasts: reading is locked until the time is known."""

    code = "device.clock_untrusted"


class ReadingSuspended(Locked):
    """The office suspended reading on this device."""

    code = "device.reading_suspended"


class Wiping(DeviceFault):
    """The device was told to destroy what it holds: it sends what it has and records nothing more."""

    code = "device.wiping"


class Wiped(DeviceFault):
    """The folder's device was wiped, and said so. A new one can be enrolled in its place."""

    code = "device.wiped"


class WrongPin(DeviceFault):
    """The PIN or passphrase is not the technician's."""

    code = "device.wrong_pin"


class PinBlocked(DeviceFault):
    """Too many wrong PINs: wait, or ask the office."""

    code = "device.pin_blocked"
    retryable = True


class ReadingDestroyed(DeviceFault):
    """Too many wrong PINs in a row: the technician's keys are gone, what was signed is not."""

    code = "device.reading_destroyed"


class PinTooWeak(DeviceFault):
    """A PIN or passphrase that is too short."""

    code = "device.pin_too_weak"


class NoTechnician(DeviceFault):
    """Nobody has signed in on this device, or the technician has no read model here."""

    code = "device.no_technician"


class StoreDamaged(DeviceFault):
    """A file of the store cannot be read: damaged, half copied, or of another device."""

    code = "device.store_damaged"


class DiskFailing(DeviceFault):
    """The disk could not be read or written just now; nothing says that what is on it is damaged."""

    code = "device.disk_failing"
    retryable = True


class StoreRestored(DeviceFault):
    """The author of this store goes on no more: it is an old copy, or another copy went on in its place."""

    code = "device.store_restored"

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class DiskFull(DeviceFault):
    """Nothing was recorded, because the disk is full."""

    code = "device.disk_full"
    retryable = True


class RecordInvalid(DeviceFault):
    """What was to be recorded is no event that a device may write there."""

    code = "device.record_invalid"


class PolicyInvalid(DeviceFault):
    """A policy or conditions that cannot be."""

    code = "device.policy_invalid"


class VisitRefused(DeviceFault):
    """The step does not fit the technician's visit, e.g. work done without a start."""

    code = "device.visit"


class LineUnknown(DeviceFault):
    """There is no such line on the intervention."""

    code = "device.line_unknown"


class InterventionUnknown(DeviceFault):
    """Neither the scope nor the device's own events know the intervention."""

    code = "device.intervention_unknown"


class CatalogueMissing(DeviceFault):
    """The scope has no such catalogue, or its bytes have not come yet."""

    code = "device.catalogue_missing"
    retryable = True


class FileInvalid(DeviceFault):
    """A file that cannot be attached: missing, empty or too large."""

    code = "device.file_invalid"


class NonceSuspicious(DeviceFault):
    """A server asked the login key to sign something that is no login nonce."""

    code = "device.nonce_suspicious"


class Unreachable(DeviceFault):
    """The server cannot be reached just now; everything stays queued."""

    code = "device.unreachable"
    retryable = True


class SessionEnded(Unreachable):
    """The broker does not take the session's token any more: a new one may help."""

    code = "device.session_ended"


class Refused(DeviceFault):
    """A server refused; `problem` is its code."""

    code = "device.refused"

    def __init__(self, message: str, *, problem: str, may_retry: bool = False) -> None:
        super().__init__(message)
        self.problem = problem
        self.retryable = may_retry


class CommandInvalid(DeviceFault):
    """A line that is no command, or one with wrong arguments."""

    code = "device.command_invalid"
