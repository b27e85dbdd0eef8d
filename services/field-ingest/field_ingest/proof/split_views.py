"""What devices testified about two histories of the ledger, each head judged against the ledger as it stands.

A head that a ledger key signed and that is no head of today's ledger is proof: the ledger showed another history, or lost one.
A head that no ledger key signed accuses nobody. It reads; what is to be done, people decide.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from field_ingest.ledger import tree
from field_ingest.ledger.ledger_keys import LedgerKeys
from zb_chassis.database import Connection
from zb_contracts.events.registry import read_body
from zb_contracts.events.testimony import SplitViewSeen
from zb_contracts.faults import CryptoFault
from zb_contracts.notes import verify_checkpoint
from zb_contracts.times import format_time_ms

LISTED_MAX: Final = 1_000

Judged = Literal["none", "of this ledger", "of another history", "not signed by the ledger"]


async def split_views(connection: Connection, keys: LedgerKeys) -> list[dict[str, Any]]:
    """The first LISTED_MAX testimonies in the ledger's order, with what each of their two heads is. It reads every row once."""
    rows = await connection.fetch(
        """
        SELECT shard, position, author, received_at_ms, type, body FROM ledger
        WHERE type = 'device.split_view_seen.v1' AND kind <> 'refusal' ORDER BY shard, position LIMIT $1
        """,
        LISTED_MAX,
    )
    shards = {row["origin"]: row for row in await connection.fetch("SELECT shard, origin, size FROM shards")}
    return [await _told(connection, row, shards, keys) for row in rows]


async def _told(connection: Connection, row: Any, shards: Mapping[str, Any], keys: LedgerKeys) -> dict[str, Any]:
    told = {
        "shard": row["shard"],
        "position": row["position"],
        "author": row["author"],
        "received_at": format_time_ms(row["received_at_ms"]),
    }
    body = read_body(row["type"], row["body"])
    if not isinstance(body, SplitViewSeen):
        return told | {"unreadable": getattr(body, "reason", "another type")}
    shard = shards.get(body.origin)
    seen, shown = [await _judged(connection, note, shard, keys) for note in (body.seen, body.shown)]
    return told | {
        "device": body.device,
        "origin": body.origin,
        "seen": seen,
        "shown": shown,
        "proven": "of another history" in (seen, shown),
        "notes": [note for note in (body.seen, body.shown) if note],
    }


async def _judged(connection: Connection, note: str | None, shard: Any, keys: LedgerKeys) -> Judged:
    if note is None:
        return "none"
    if shard is None:
        return "not signed by the ledger"
    try:
        head = verify_checkpoint(note, shard["origin"], keys.verifiers(shard["origin"]))
    except CryptoFault:
        return "not signed by the ledger"
    ours = head.size <= shard["size"] and await tree.root_at(connection, shard["shard"], head.size) == head.root
    return "of this ledger" if ours else "of another history"
