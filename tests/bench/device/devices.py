"""The measured devices: light ones with a session of their own, signed as enrolment signs it, and keys out of the corpus.

Enrolment is not what is measured, so nobody asks for a code: the ledger knows the authors by SQL, the broker the tokens by the
key that signs all of them.
"""

import time
from dataclasses import asdict
from typing import Any

import msgspec

from tests.bench.ledger.corpus import AgencyFiles, Device
from tests.bench.ledger.machine import Machine
from zb_contracts.keys import SigningKey, WrapKey, kid, nkey_user_text
from zb_device.keys import DeviceKeys
from zb_device.settings import Pinned, Session
from zb_device.simulator.light import LightDevice
from zb_device.simulator.tally import Tally

FAR_MS = 2**52


class Broker(msgspec.Struct, frozen=True):
    """What the devices trust, and where they connect. `ledger` is the public key in hex."""

    url: str
    origin: str
    ledger: str

    @classmethod
    def of(cls, machine: Machine, url: str | None = None) -> "Broker":
        return cls(url or machine.nats.url, machine.log_origin, machine.ledger_public().hex())


def signed_in(machine: Machine, agency: AgencyFiles) -> list[dict[str, str]]:
    """The agency's devices with a session each: rows of `corpus.Device`, `token`, and `login`, the login key's seed in hex."""
    now_s, rows = int(time.time()), []
    for device in agency.devices:
        login = SigningKey.generate()
        public = nkey_user_text(login.public)
        token = machine.nats.layout.device_token(public, device.device, device.technician, issued_at=now_s)
        rows.append(asdict(device) | {"token": token, "login": login.seed.hex()})
    return rows


def light_device(broker: Broker, agency: str, row: dict[str, Any], tally: Tally) -> LightDevice:
    """The device of one of these rows, with an empty log."""
    who = Device(**{name: value for name, value in row.items() if name not in ("token", "login")})
    pinned = Pinned(
        device=who.device,
        author=who.author,
        agency=agency,
        shard=0,
        shards=1,
        log_origin=broker.origin,
        root_key=b"",
        certificates=(),
        ingest_url="",
        nats_url=broker.url,
        media_url="",
    )
    login, event = (SigningKey(bytes.fromhex(seed)) for seed in (row["login"], who.seed))
    session = Session(token=row["token"], token_id="session", technician=who.technician, expires_ms=FAR_MS)
    ledger = bytes.fromhex(broker.ledger)
    return LightDevice(pinned, DeviceKeys(login, event, WrapKey.generate()), session, tally, ledger={kid(ledger): ledger})
