"""`audit verify`: everything that the ledger promises, checked again from its bytes alone.

Every header, signature, body digest and link; dense positions; leaves, tiles and root; the newest checkpoint's signature and
root. Keys come from the enrolments and registrations in the ledger itself, not from today's author rows. It repairs nothing.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from field_ingest.ledger import tree
from field_ingest.ledger.keyring import INGEST, KeyRing
from zb_chassis.database import Connection
from zb_contracts import canonical, ledger_leaf
from zb_contracts.envelope import PAYLOAD_TYPE, digest
from zb_contracts.events.devices import AuthorRegistered, DeviceEnrolled
from zb_contracts.events.registry import read_body
from zb_contracts.faults import CryptoFault
from zb_contracts.keys import dsse_pae, verify
from zb_contracts.merkle import Frontier
from zb_contracts.notes import verify_checkpoint
from zb_contracts.sealed import from_base64url

PAGE: Final = 2_000
FAULTS_MAX: Final = 50
"""Faults that are told one by one; beyond it they are only counted."""

_ROWS: Final = """
SELECT position, kind, event_id, author, seq, header, header_hash, body, signature, received_at_ms, facts, leaf_hash, chained
FROM ledger WHERE shard = $1 AND position >= $2 ORDER BY position LIMIT $3
"""


@dataclass(slots=True)
class Report:
    """What was checked, and what was wrong (the first FAULTS_MAX of it)."""

    rows: int = 0
    kinds: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("admitted", "held", "refusal"), 0))
    """Rows by kind."""
    signatures: int = 0
    chains: int = 0
    tiles: int = 0
    checkpoints: int = 0
    faults: int = 0
    told: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return self.faults == 0

    def wrong(self, fault: str) -> None:
        self.faults += 1
        if len(self.told) < FAULTS_MAX:
            self.told.append(fault)

    def as_json(self) -> dict[str, Any]:
        """The report as a program reads it."""
        return {name: getattr(self, name) for name in self.__slots__} | {"sound": self.sound}

    def lines(self) -> list[str]:
        """The report as a person reads it."""
        return [
            f"rows read                {self.rows} ({', '.join(f'{count} {kind}' for kind, count in self.kinds.items())})",
            f"signatures verified      {self.signatures}",
            f"chains followed          {self.chains}",
            f"tiles recomputed         {self.tiles}",
            f"checkpoints compared     {self.checkpoints}",
            *(f"WRONG {fault}" for fault in self.told),
            "the ledger is sound" if self.sound else f"the ledger is NOT sound: {self.faults} faults",
        ]


@dataclass(slots=True)
class _Chain:
    mark: int = 0
    head: bytes = bytes(32)


async def verify_ledger(connection: Connection, keys: KeyRing) -> Report:
    """Check everything in one read-only snapshot; the report says what was found."""
    report = Report()
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        public = await _keys_in_ledger(connection, keys, report)
        chains: dict[str, _Chain] = {}
        ids: set[str] = set()
        for shard in await connection.fetch("SELECT shard, origin, size, root, frontier FROM shards ORDER BY shard"):
            frontier = Frontier()
            async for row in _rows(connection, shard["shard"]):
                report.rows += 1
                report.kinds[row["kind"]] += 1
                for fault in _faults(row, public.get(row["author"]), frontier.size, chains, ids, report):
                    report.wrong(f"shard {shard['shard']}, position {row['position']}: {fault}")
                await _grow(connection, shard["shard"], frontier, row, report)
            _check_head(shard, frontier, report)
            await _check_checkpoint(connection, shard, keys, report)
        await _check_marks(connection, chains, report)
    report.chains = len(chains)
    return report


async def _keys_in_ledger(connection: Connection, keys: KeyRing, report: Report) -> dict[str, bytes]:
    """Author -> event key, as the ledger's own author stated it in the ledger."""
    public = {INGEST: keys.ingest.public}
    rows = await connection.fetch(
        "SELECT type, body FROM ledger WHERE author = $1 AND kind = 'admitted' AND type = ANY ($2) ORDER BY seq",
        INGEST,
        ["device.author_registered.v1", "device.enrolled.v1"],
    )
    for row in rows:
        body = read_body(row["type"], row["body"])
        if not isinstance(body, AuthorRegistered | DeviceEnrolled):
            report.wrong(f"a {row['type']} of {INGEST} cannot be read")
        elif public.setdefault(body.author, from_base64url(body.event_key)) != from_base64url(body.event_key):
            report.wrong(f"the author {body.author} was given two keys")
    return public


async def _rows(connection: Connection, shard: int) -> AsyncIterator[asyncpg.Record]:
    position = 0
    while page := await connection.fetch(_ROWS, shard, position, PAGE):
        for row in page:
            yield row
        position = page[-1]["position"] + 1


def _faults(
    row: asyncpg.Record, key: bytes | None, expected: int, chains: dict[str, _Chain], ids: set[str], report: Report
) -> Iterator[str]:
    if row["position"] != expected:
        yield f"the position should be {expected}"
    if hashlib.sha256(row["header"]).digest() != row["header_hash"]:
        yield "the header has another hash"
    header = _header(row)
    if header.get("author") != row["author"] or header.get("seq") != row["seq"]:
        yield "author or number are not the header's"
    if header.get("body_sha256") != digest(row["body"]):
        yield "the body has another digest than its header says"
    report.signatures += 1
    if key is None:
        yield f"no key of {row['author']} stands in the ledger"
    elif not verify(key, dsse_pae(PAYLOAD_TYPE, row["header"]), row["signature"]):
        yield f"the signature is not that of {row['author']}"
    if row["kind"] != "refusal":
        if row["event_id"] in ids or header.get("id") != row["event_id"]:
            yield f"the event id {row['event_id']} stands there twice, or is not the header's"
        ids.add(row["event_id"])
    if row["chained"]:
        yield from _link_faults(row, header, chains.setdefault(row["author"], _Chain()))


def _link_faults(row: asyncpg.Record, header: dict[str, Any], chain: _Chain) -> Iterator[str]:
    if row["seq"] != chain.mark + 1:
        yield f"the chain of {row['author']} jumps from {chain.mark} to {row['seq']}"
    if header.get("prev") != chain.head.hex():
        yield f"event {row['seq']} of {row['author']} does not name the header before it"
    chain.mark, chain.head = row["seq"], row["header_hash"]


def _header(row: asyncpg.Record) -> dict[str, Any]:
    """The header's values; empty when even those of a refused one cannot be read, which fails the comparisons."""
    try:
        value = canonical.decode(row["header"])
    except canonical.NotCanonical:
        return {}
    return value if isinstance(value, dict) else {}


async def _grow(connection: Connection, shard: int, frontier: Frontier, row: asyncpg.Record, report: Report) -> None:
    leaf = ledger_leaf.leaf_bytes(
        kind=row["kind"],
        header_hash=row["header_hash"],
        signature=row["signature"],
        received_at_ms=row["received_at_ms"],
        facts=row["facts"],
    )
    leaf_hash = ledger_leaf.leaf_hash(leaf)
    if leaf_hash != row["leaf_hash"]:
        report.wrong(f"shard {shard}, position {row['position']}: the stored leaf hash is another")
    for subtree in frontier.append(leaf_hash):
        height, within = divmod(subtree.level, 8)
        if height and not within:
            report.tiles += 1
            stored = await connection.fetchval(
                "SELECT root FROM tiles WHERE shard = $1 AND level = $2 AND tile = $3", shard, height - 1, subtree.number
            )
            if stored != subtree.hash:
                report.wrong(f"shard {shard}: tile {subtree.number} of level {height - 1} has another root")


def _check_head(shard: asyncpg.Record, frontier: Frontier, report: Report) -> None:
    if (shard["size"], shard["root"], shard["frontier"]) != (frontier.size, frontier.root(), frontier.to_bytes()):
        report.wrong(f"shard {shard['shard']}: size or root are not those of its {frontier.size} rows")


async def _check_checkpoint(connection: Connection, shard: asyncpg.Record, keys: KeyRing, report: Report) -> None:
    """The newest checkpoint is a ledger key's, and its root is that of so many rows."""
    newest = await connection.fetchrow(
        "SELECT size, root, note FROM checkpoints WHERE shard = $1 ORDER BY size DESC LIMIT 1", shard["shard"]
    )
    if newest is None:
        return
    report.checkpoints += 1
    try:
        checkpoint = verify_checkpoint(newest["note"], shard["origin"], keys.ledger.verifiers(shard["origin"]))
    except CryptoFault as fault:
        report.wrong(f"shard {shard['shard']}: the newest checkpoint does not verify: {fault}")
        return
    if checkpoint.size > shard["size"]:
        report.wrong(f"shard {shard['shard']}: a checkpoint over {checkpoint.size} rows was made, the ledger has {shard['size']}")
    elif await tree.root_at(connection, shard["shard"], checkpoint.size) != checkpoint.root:
        report.wrong(f"shard {shard['shard']}: the first {checkpoint.size} rows are not those of the newest checkpoint")


async def _check_marks(connection: Connection, chains: dict[str, _Chain], report: Report) -> None:
    for row in await connection.fetch("SELECT author, mark, head_hash FROM authors ORDER BY author"):
        chain = chains.get(row["author"], _Chain())
        if (row["mark"], row["head_hash"]) != (chain.mark, chain.head):
            report.wrong(f"the mark of {row['author']} is {row['mark']}, its chain has {chain.mark}")
