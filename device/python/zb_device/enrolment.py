"""Enrolment: a one-time code becomes a device with keys of its own that pins the platform's root.

The keys are in the encrypted store before the code is sent, so that a lost answer is asked for again with the same keys. What
the answer holds is checked against the root before anything is kept. It opens no read model: that needs a PIN (`vault`).
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import httpx

from zb_contracts import invitation as contract
from zb_contracts.enrolment import EnrolmentAnswer, EnrolmentRequest, enrolment_statement
from zb_contracts.faults import CryptoFault
from zb_contracts.sealed import from_base64url, to_base64url
from zb_device.clock import AnchorMark, Clock
from zb_device.database import Connection, transaction
from zb_device.faults import AlreadyEnrolled, Refused
from zb_device.keys import DeviceKeys, StoredKeys
from zb_device.sessions import keep, post
from zb_device.settings import Host, Pending, Pinned, Settings, SignedIn
from zb_device.tokens import session_of
from zb_device.trust import pinned_certificates

PATH: Final = "/v1/enrolments"


@dataclass(frozen=True, slots=True)
class Places:
    """Where the platform is reached."""

    ingest_url: str
    nats_url: str
    media_url: str


@dataclass(frozen=True, slots=True)
class Invitation:
    """What an administrator handed over: code and addresses; `root_sha256`, where it is given, is what the root must be."""

    code: str
    places: Places
    model: str | None = None
    root_sha256: str | None = None


def invited(text: str, *, model: str | None = None) -> Invitation:
    """The invitation in the one line that an administrator handed over, or that a QR code held. Problem INVITATION_MALFORMED."""
    read = contract.Invitation.from_text(text)
    return Invitation(read.code, Places(read.ingest.rstrip("/"), read.nats, read.media.rstrip("/")), model, read.root)


async def enrol(connection: Connection, clock: Clock, invitation: Invitation, client: httpx.AsyncClient) -> None:
    """Send the code and keep what came back, whole or not at all. The same call again goes on, until `finish`.

    AlreadyEnrolled, Unreachable, or Refused with the server's code.
    """
    settings = Settings(connection)
    if settings.get(Pinned) is not None:
        if settings.get(Pending) != Pending(code=invitation.code):
            raise AlreadyEnrolled("this folder holds an enrolled device: use another folder for another device")
        return
    keys = _keys(connection, settings, invitation)
    body = enrolment_request(keys, invitation).model_dump_json(exclude_none=True).encode()
    answer = await post(client, invitation.places.ingest_url + PATH, body, EnrolmentAnswer)
    pinned = pinned_by(answer, invitation, clock.real_ms())
    session = session_of(answer.token, answer.word, device=pinned.device, login=keys.login_text)
    with transaction(connection):
        settings.put(pinned)
        keep(settings, session, pinned, clock)
        settings.put(
            AnchorMark(id=answer.anchor_id, server_time=answer.server_time, boot=clock.boot, elapsed_ms=clock.elapsed_ms())
        )
        if answer.technician:
            settings.put(SignedIn(technician=answer.technician))
        if invitation.model:
            settings.put(Host(model=invitation.model))


def finish(connection: Connection) -> None:
    """Whoever the code names can work with the device: the same code once more is a mistake from now on."""
    with transaction(connection):
        Settings(connection).forget(Pending)


def _keys(connection: Connection, settings: Settings, invitation: Invitation) -> DeviceKeys:
    """The keys of this code: those of an unfinished try, or new ones, durable before they leave."""
    stored, pending = settings.get(StoredKeys), settings.get(Pending)
    if stored is not None and pending is not None and pending.code == invitation.code:
        return DeviceKeys.from_stored(stored)
    keys = DeviceKeys.generate()
    with transaction(connection):
        settings.put(keys.stored())
        settings.put(Pending(code=invitation.code))
    return keys


def enrolment_request(keys: DeviceKeys, invitation: Invitation) -> EnrolmentRequest:
    """What is posted: the code, and the proofs of these keys."""
    login, event, wrap = keys.login_text, to_base64url(keys.event.public), to_base64url(keys.wrap.public)
    return EnrolmentRequest(
        code=invitation.code,
        login_key=login,
        event_key=event,
        wrap_key=wrap,
        certification=to_base64url(keys.certification()),
        proof=to_base64url(keys.event.sign(enrolment_statement(invitation.code, login, event, wrap))),
        model=invitation.model,
    )


def pinned_by(answer: EnrolmentAnswer, invitation: Invitation, real_ms: int) -> Pinned:
    """What the device trusts from now on. Refused for an answer that the root does not stand for."""
    try:
        root = from_base64url(answer.root_key)
        if invitation.root_sha256 and hashlib.sha256(root).hexdigest() != invitation.root_sha256:
            raise Refused("the platform's root is not the one that the code names", problem="enrolment.root")
    except CryptoFault as fault:
        raise Refused(f"the answer's root is no key: {fault}", problem="enrolment.keys") from fault
    certificates = pinned_certificates(root, answer.keys, real_ms)
    return Pinned(
        device=answer.device,
        author=answer.author,
        agency=answer.agency,
        shard=answer.shard,
        shards=answer.shards,
        log_origin=answer.log_origin,
        root_key=root,
        certificates=certificates,
        ingest_url=invitation.places.ingest_url,
        nats_url=invitation.places.nats_url,
        media_url=invitation.places.media_url,
    )
