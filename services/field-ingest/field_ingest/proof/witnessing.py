"""Asks witnesses to cosign the newest checkpoints, again and again: a task of the process that has the role `witnesses`.

Each witness gets each shard's checkpoint with the proof from the last one that it signed (C2SP tlog-witness); what it signed is
checked and stored. A witness that refuses the proof has seen another history: that is an alarm, never repaired here.
"""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import structlog
from prometheus_client import Counter, Gauge

from field_ingest.ledger import tree
from field_ingest.ledger.checkpoints import Checkpoints, StoredCheckpoint
from zb_chassis.database import LOST, Connection, Pool
from zb_contracts.cosignatures import SIZE_TYPE, AddCheckpoint, WitnessVerifier, cosigned_at
from zb_contracts.faults import CryptoFault, NoteMalformed

WITNESSES_MAX: Final = 16
INTERVAL_S: Final = 60.0
TIMEOUT_S: Final = 10.0
ANSWER_BYTES_MAX: Final = 8 * 1024
_SIZE: Final = re.compile(r"(0|[1-9][0-9]{0,18})\n?")

ASKED: Final = Counter("zb_ingest_witness_requests", "Checkpoints sent to witnesses", ["witness", "outcome"])
COSIGNED: Final = Gauge("zb_ingest_witness_cosigned_size", "Rows that the witness cosigned last", ["witness", "shard"])

log: Final = structlog.get_logger(__name__)


class WitnessesUnusable(RuntimeError):
    """The file of witnesses cannot be read; the message names the line."""


class WitnessFault(Exception):
    """A witness did not cosign; the message says why."""

    def __init__(self, outcome: str, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness: whose signature we accept, and where it is asked."""

    verifier: WitnessVerifier
    url: str


def read_witnesses(file: Path | None) -> tuple[Witness, ...]:
    """The witnesses of a file with a line `<verifier key> <url>` each; empty without a file. WitnessesUnusable."""
    if file is None:
        return ()
    try:
        lines = [line.split() for line in file.read_text("utf-8").splitlines() if line.strip() and not line.startswith("#")]
        if len(lines) > WITNESSES_MAX:
            raise WitnessesUnusable(f"{file} names {len(lines)} witnesses, the limit is {WITNESSES_MAX}")
        return tuple(Witness(WitnessVerifier.from_text(key), url.rstrip("/")) for key, url in lines)
    except (OSError, ValueError, CryptoFault) as fault:
        raise WitnessesUnusable(f"{file} cannot be read as lines of `<verifier key> <url>`: {fault}") from fault


class Witnessing:
    """The log's side of its witnesses."""

    def __init__(
        self, pool: Pool, checkpoints: Checkpoints, witnesses: tuple[Witness, ...], *, interval_s: float = INTERVAL_S
    ) -> None:
        self._pool, self._checkpoints, self._witnesses, self._interval_s = pool, checkpoints, witnesses, interval_s

    async def run(self, stop: asyncio.Event) -> None:
        """Ask all witnesses every interval until `stop` is set."""
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            while not stop.is_set():
                try:
                    await self.ask_all(client)
                except LOST as fault:
                    log.warning("witnesses wait for the database", fault=str(fault))
                try:
                    await asyncio.wait_for(stop.wait(), self._interval_s)
                except TimeoutError:
                    continue

    async def ask_all(self, client: httpx.AsyncClient) -> int:
        """Ask each witness about each shard, once; how many cosigned. Faults of a witness are logged and counted."""
        cosigned = 0
        for row in await self._pool.fetch("SELECT shard FROM shards ORDER BY shard"):
            head = await self._checkpoints.current(self._pool, row["shard"])
            for witness in self._witnesses if head else ():
                assert head is not None
                try:
                    await self.ask(client, witness, head)
                except WitnessFault as fault:
                    ASKED.labels(witness.verifier.name, fault.outcome).inc()
                    log.error("a witness did not cosign", witness=witness.verifier.name, shard=head.shard, reason=str(fault))
                else:
                    ASKED.labels(witness.verifier.name, "cosigned").inc()
                    COSIGNED.labels(witness.verifier.name, head.shard).set(head.size)
                    cosigned += 1
        return cosigned

    async def ask(self, client: httpx.AsyncClient, witness: Witness, head: StoredCheckpoint) -> None:
        """Have one checkpoint cosigned, and store the line. WitnessFault."""
        old_size = await self._last(witness, head.shard)
        answer = await self._post(client, witness, head, old_size)
        if answer.status_code == 409 and answer.headers.get("content-type", "").startswith(SIZE_TYPE):
            found = _SIZE.fullmatch(answer.text)
            if found is None or int(found[1]) > head.size or int(found[1]) == old_size:
                raise WitnessFault("split", f"it has seen {answer.text.strip()!r} rows of another history")
            answer = await self._post(client, witness, head, int(found[1]))
        if answer.status_code == 422:
            raise WitnessFault("split", f"it has seen another history: {answer.text[:200].strip()!r}")
        if answer.status_code != 200:
            raise WitnessFault("refused", f"{answer.status_code}: {answer.text[:200].strip()!r}")
        try:
            at_s = cosigned_at(head.note + answer.text, witness.verifier)
        except NoteMalformed as fault:
            raise WitnessFault("malformed", str(fault)) from fault
        if at_s is None or answer.text.count("\n") != 1:
            raise WitnessFault("malformed", "its answer is no cosignature of its key over this checkpoint")
        await self._pool.execute(
            """
            INSERT INTO cosignatures (shard, size, witness, line, at_s) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (shard, size, witness) DO UPDATE SET line = excluded.line, at_s = excluded.at_s
            """,
            head.shard,
            head.size,
            witness.verifier.to_text(),
            answer.text,
            at_s,
        )

    async def _post(self, client: httpx.AsyncClient, witness: Witness, head: StoredCheckpoint, old_size: int) -> httpx.Response:
        async with self._pool.acquire() as connection:
            proof = await tree.consistency_proof(connection, head.shard, old_size, head.size)
        request = AddCheckpoint(old_size, proof, head.note)
        try:
            answer = await client.post(f"{witness.url}/add-checkpoint", content=request.to_text().encode())
        except httpx.HTTPError as fault:
            raise WitnessFault("unreachable", f"{type(fault).__name__}: {fault}") from fault
        if len(answer.content) > ANSWER_BYTES_MAX:
            raise WitnessFault("malformed", f"its answer has {len(answer.content)} bytes, the limit is {ANSWER_BYTES_MAX}")
        return answer

    async def _last(self, witness: Witness, shard: int) -> int:
        newest = "SELECT max(size) FROM cosignatures WHERE shard = $1 AND witness = $2"
        return await self._pool.fetchval(newest, shard, witness.verifier.to_text()) or 0


async def cosignatures(pool: Pool, shard: int, size: int) -> str:
    """The signature lines of all witnesses under this checkpoint, for whoever is given its note."""
    async with pool.acquire() as connection:
        return await signature_lines(connection, shard, size)


async def signature_lines(connection: Connection, shard: int, size: int) -> str:
    """As `cosignatures`, on a connection."""
    rows = await connection.fetch("SELECT line FROM cosignatures WHERE shard = $1 AND size = $2 ORDER BY witness", shard, size)
    return "".join(row["line"] for row in rows)
