"""Handovers: the key of a file that a locked device cannot open goes from escrow to the evidence store, by an event's leave.

Given to whoever proves the device's login key, also in a drain session and after a revocation: evidence arrives like events. A
key is passed on in a box and never in the clear, and only for a file that an event of this very device names, admitted or held.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from field_ingest.devices import suspensions
from field_ingest.devices.tokens import Proof, Tokens
from field_ingest.ledger.keyring import KeyRing, trusted_key
from zb_chassis.clock import Clock
from zb_chassis.database import Connection, Pool, transaction
from zb_contracts.enrolment import TrustedKey
from zb_contracts.faults import CryptoFault
from zb_contracts.handover import (
    FILE_BYTES_MAX,
    PATH,
    VALID_MS,
    Handover,
    HandoverRequest,
    SignedHandover,
    passed_on,
    sign_handover,
)
from zb_contracts.problems import FILE_UNNAMED, INPUT_INVALID, Problem

NAMING_MAX: Final = 16
"""Events that are read for one file: the same photo is named a few times at most."""


@dataclass(frozen=True, slots=True)
class Handovers:
    """Signs them. `clock` is real time."""

    pool: Pool
    tokens: Tokens
    keys: KeyRing
    clock: Clock

    async def hand_over(self, request: HandoverRequest, proof: Proof, body: bytes) -> SignedHandover:
        """The file's key for the evidence store.

        Problems of the proof, DEVICE_SUSPENDED, FILE_UNNAMED where the ledger has no event of the device with the file (yet),
        INPUT_INVALID where the box is none for escrow.
        """
        now_ms = self.clock()
        async with transaction(self.pool) as connection:
            found = await self.tokens.proven(connection, request.device, proof, "POST", PATH, body)
            await suspensions.check(connection, found.device, now_ms, is_drain=True)
            length = await _named_length(connection, found.device, request.sha256)
        if length is None:
            raise Problem(FILE_UNNAMED, id=request.sha256)
        try:
            box = passed_on(self.keys.escrow.private, request.box, self.keys.media)
        except CryptoFault as fault:
            raise Problem(INPUT_INVALID, errors=({"field": "box", "reason": str(fault)},)) from fault
        handover = Handover(device=found.device, sha256=request.sha256, length_bytes=length, box=box, ends_ms=now_ms + VALID_MS)
        return sign_handover(handover, self.keys.ledger.signing, self._certificate())

    def _certificate(self) -> TrustedKey:
        signing = self.keys.ledger.signing.kid
        return next(trusted_key(one) for one in self.keys.ledger.certificates if one.kid == signing)


async def _named_length(connection: Connection, device: str, sha256: str) -> int | None:
    """How long the file is by an event of the device that the ledger has, admitted or held."""
    rows = await connection.fetch(
        """
        SELECT body FROM ledger JOIN authors USING (author)
        WHERE device = $1 AND ledger.kind <> 'refusal' AND position($2::bytea IN body) > 0 LIMIT $3
        """,
        device,
        sha256.encode(),
        NAMING_MAX,
    )
    lengths = (file["length_bytes"] for row in rows for file in _files(json.loads(row["body"])) if file["sha256"] == sha256)
    return next(lengths, None)


def _files(value: Any) -> Iterator[dict[str, Any]]:
    """Every file that a body names, wherever it stands: what a later version of an event names counts as well."""
    if isinstance(value, dict):
        if isinstance(value.get("sha256"), str) and _is_length(value.get("length_bytes")):
            yield value
        for one in value.values():
            yield from _files(one)
    elif isinstance(value, list):
        for one in value:
            yield from _files(one)


def _is_length(value: Any) -> bool:
    """A body that no schema reads may say anything."""
    return isinstance(value, int) and 1 <= value <= FILE_BYTES_MAX
