"""Commands that read, and those of session and network. Importing this module registers every command.

`run` is the way in for `serve` and the command line.
"""

from collections.abc import Callable
from typing import Final, Literal

import msgspec
from pydantic import Field

from zb_contracts.envelope import ParsedEvent
from zb_contracts.times import TimeText, format_time_ms, parse_time_ms
from zb_device import field_commands
from zb_device.command_register import Arguments, Json, NoArguments, Section, command, run
from zb_device.device import Device
from zb_device.faults import CommandInvalid
from zb_device.listed import Listed, Which
from zb_device.local_state import LocalState
from zb_device.policies import Conditions, Link, policy_of
from zb_device.reporting import listing, status
from zb_device.settings import IDLE_LOCK_S_MAX, IDLE_LOCK_S_MIN

__all__ = ["field_commands", "run"]

WAIT_S_MAX: Final = 600.0


@command("status", Section.OUTCOME, about="Who this device is, what waits for what, and what was refused.")
async def status_command(device: Device, _: NoArguments) -> Json:
    return status(device)


@command("check", Section.DEVICE, about="Read every page of the log.")
async def check(device: Device, _: NoArguments) -> Json:
    device.check()
    return {"whole": True}


class Show(Arguments):
    """A stream, or an intervention by id."""

    intervention: str | None = None
    stream: str | None = None


@command(
    "show",
    Section.READING,
    Show,
    about="The merged local state, with what the server has not covered yet.",
    positional=("intervention",),
    reads=True,
)
async def show(device: Device, arguments: Show) -> Json:
    stream = arguments.stream or f"intervention:{arguments.intervention}"
    return _shown(device, device.state(stream))


class Documents(Arguments):
    """Which kind: `site`, `equipment`, `catalogue` ..."""

    kind: str = "intervention"


@command("documents", Section.READING, Documents, about="The documents of a kind in the scope.", positional=("kind",), reads=True)
async def documents(device: Device, arguments: Documents) -> list[str]:
    return device.documents(arguments.kind)


class Listing(Arguments):
    """Of which kind, in which status, and planned from when until when (RFC 3339, UTC), the end not included."""

    kind: str = "intervention"
    status: str | None = None
    planned_from: TimeText | None = None
    planned_until: TimeText | None = None


@command(
    "list",
    Section.READING,
    Listing,
    about="Lines of the scope by planned time: the interventions, or another KIND.",
    positional=("kind",),
    reads=True,
)
async def list_command(device: Device, arguments: Listing) -> list[Json]:
    from_ms, until_ms = (
        None if text is None else parse_time_ms(text) for text in (arguments.planned_from, arguments.planned_until)
    )
    return [_line(arguments.kind, line) for line in device.listed(arguments.kind, Which(arguments.status, from_ms, until_ms))]


class SharedCatalogue(Arguments):
    """A `checklist` by its code; `parts` or `reasons` by the agency."""

    kind: str
    name: str


@command(
    "catalogue",
    Section.READING,
    SharedCatalogue,
    about="A shared catalogue of the scope.",
    positional=("kind", "name"),
    reads=True,
)
async def catalogue(device: Device, arguments: SharedCatalogue) -> Json:
    return {"catalogue": device.catalogue(arguments.kind, arguments.name)}


class Outbox(Arguments):
    """`all` shows settled events too."""

    all: bool = False
    limit: int = Field(default=200, ge=1, le=10_000)


@command("outbox", Section.OUTCOME, Outbox, about="Events and files that wait, or that a person has to see.")
async def outbox(device: Device, arguments: Outbox) -> Json:
    return listing(device, everything=arguments.all, limit=arguments.limit)


class Dealt(Arguments):
    """A held or refused event that a person has dealt with."""

    event: str


@command(
    "dealt", Section.OUTCOME, Dealt, about="A person has read what became of a held or refused EVENT.", positional=("event",)
)
async def dealt(device: Device, arguments: Dealt) -> Json:
    return {"dealt_with": device.deal_with(arguments.event)}


class Refused(Arguments):
    """A photo or signature that was refused for good, by its hash."""

    sha256: str


@command("try_again", Section.OUTCOME, Refused, about="Send a photo once more that was refused for good.", positional=("sha256",))
async def try_again(device: Device, arguments: Refused) -> Json:
    return {"queued": device.try_again(arguments.sha256)}


# --- Session and network ---


class Unlock(Arguments):
    """Another technician than the one signed in is named."""

    pin: str
    technician: str | None = None


@command("unlock", Section.PEOPLE, Unlock, about="Open the read model of a technician.")
async def unlock(device: Device, arguments: Unlock) -> Json:
    await device.unlock(arguments.pin, arguments.technician)
    return {"technician": device.technician}


class ChangePin(Arguments):
    """The PIN or passphrase of who works here, and the one to be."""

    pin: str
    new_pin: str


@command("change_pin", Section.PEOPLE, ChangePin, about="Another PIN or passphrase for who works here.")
async def change_pin(device: Device, arguments: ChangePin) -> Json:
    await device.change_pin(arguments.pin, arguments.new_pin)
    return {"technician": device.technician}


class LockChoice(Arguments):
    """`kind` is what opens reading; `idle_s` after how long without use it closes. What is left out stays."""

    kind: Literal["pin", "passphrase"] | None = None
    idle_s: int | None = Field(default=None, ge=IDLE_LOCK_S_MIN, le=IDLE_LOCK_S_MAX)


@command(
    "lock_policy",
    Section.PEOPLE,
    LockChoice,
    about="What opens reading for who signs in from now on, and when it locks by itself.",
)
async def lock_policy(device: Device, arguments: LockChoice) -> Json:
    if arguments.model_fields_set:
        device.use_lock(msgspec.structs.replace(device.lock_policy, **arguments.model_dump(exclude_none=True)))
    plain: Json = msgspec.to_builtins(device.lock_policy)
    return plain


class SignIn(Arguments):
    """A technician who begins to work with this device, with a PIN of their choice. On a device of a pool `person` is their
    access token of the identity provider."""

    technician: str
    pin: str
    person: str | None = None


@command("sign_in", Section.PEOPLE, SignIn, about="A technician begins to work with this device.", positional=("technician",))
async def sign_in(device: Device, arguments: SignIn) -> Json:
    await device.sign_in(arguments.technician, arguments.pin, person=arguments.person)
    return {"technician": device.technician}


@command("lock", Section.PEOPLE, about="Close the read model; recording and sending go on.")
async def lock(device: Device, _: NoArguments) -> Json:
    device.lock()
    return {"locked": True}


class Sync(Arguments):
    """`regardless`: photos go now, whatever the policy says."""

    regardless: bool = False


@command("sync", Section.NETWORK, Sync, about="Send what waits and fetch what is new, once.", waits=True)
async def sync(device: Device, arguments: Sync) -> Json:
    report = await device.sync()
    uploaded = await device.upload(regardless=arguments.regardless)
    return {**msgspec.to_builtins(report), "uploaded": uploaded}


class Told(Arguments):
    """What the host knows: `none`, `metered` or `unmetered`; the charge, where there is a battery."""

    link: Link = Link.UNMETERED
    battery_percent: int | None = None
    charging: bool = False


@command("tell", Section.NETWORK, Told, about="What the host knows of link and battery.", positional=("link",))
async def tell(device: Device, arguments: Told) -> Json:
    device.tell(Conditions(link=arguments.link, battery_percent=arguments.battery_percent, charging=arguments.charging))
    return {"photos_wait_for": device.network.photos_wait_for()}


class Described(Arguments):
    """What the host says of the device; what it leaves empty, the machine says."""

    model: str = ""
    os: str = ""
    app: str = ""


@command(
    "describe", Section.DEVICE, Described, about="Say better than the machine what this device is, for those who look after it."
)
async def describe(device: Device, arguments: Described) -> Json:
    device.describe(model=arguments.model, os=arguments.os, app=arguments.app)
    return {"described": True}


class Chosen(Arguments):
    """A policy by name, with some of its values changed; without a name, the one in force."""

    name: str | None = None
    changes: Json = Field(default_factory=dict)


@command(
    "policy",
    Section.NETWORK,
    Chosen,
    about="Choose what waits for what: standard, sparing or unrestricted.",
    positional=("name",),
)
async def policy(device: Device, arguments: Chosen) -> Json:
    if arguments.name is not None:
        device.use(policy_of(arguments.name, **arguments.changes))
    plain: Json = msgspec.to_builtins(device.policy)
    return plain


@command("offline", Section.NETWORK, about="Cut the device's own connections.")
async def offline(device: Device, _: NoArguments) -> Json:
    await device.offline()
    return {"online": False}


@command("online", Section.NETWORK, about="Use the network again.")
async def online(device: Device, _: NoArguments) -> Json:
    device.online()
    return {"online": True}


class Wait(Arguments):
    """What to wait for: `settled` (every event has its receipt), `uploaded`, `covered` (the stream's document covers what was
    recorded here), `documents` (at least `count` interventions in the scope)."""

    until: str = "settled"
    stream: str | None = None
    count: int = 1
    timeout_s: float = Field(default=30.0, gt=0, le=WAIT_S_MAX)


@command("wait", Section.NETWORK, Wait, about="Wait for what the background brings.", positional=("until",), waits=True)
async def wait(device: Device, arguments: Wait) -> Json:
    conditions: dict[str, Callable[[], bool]] = {
        "settled": device.settled,
        "uploaded": device.uploaded,
        "covered": lambda: not device.state(arguments.stream or "").pending,
        "documents": lambda: len(device.documents("intervention")) >= arguments.count,
    }
    if arguments.until not in conditions:
        raise CommandInvalid(f"wait: until is one of {', '.join(conditions)}")
    device.network.wake()
    reached = await device.wait_until(conditions[arguments.until], arguments.timeout_s)
    return {"reached": reached, "last_fault": device.network.last_fault}


# --- JSON ---


def _line(kind: str, line: Listed) -> Json:
    """One line of a list. Under its kind stands the id that other commands take."""
    said: Json = msgspec.structs.asdict(line)
    planned_ms = said.pop("planned_ms")
    return said | {"planned_at": None if planned_ms is None else format_time_ms(planned_ms), kind: line.id}


def _shown(device: Device, found: LocalState) -> Json:
    return {
        "stream": found.stream,
        "change": found.change,
        "pending": [_pending(device, event) for event in found.pending],
        "state": device.shown(found.stream),
    }


def _pending(device: Device, event: ParsedEvent) -> Json:
    header = event.header
    return {
        "id": header.id,
        "seq": header.seq,
        "type": header.type,
        "at": header.at,
        "state": device.parts.log.state_of(header.id).value,
    }
