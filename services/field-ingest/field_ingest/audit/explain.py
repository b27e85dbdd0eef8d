"""Why an intervention's state says what it says, and its history event by event, for a person who asks.

Reads one state and the ledger rows of its stream. The decisions are `zb_contracts.merge.why`'s, word for word, and what their
events had seen of each other is read from the signed headers; nothing is decided here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from field_ingest.projection import states
from field_ingest.projection.ports import StateRow
from zb_chassis.database import Connection
from zb_contracts import canonical
from zb_contracts.envelope import parse_header
from zb_contracts.merge.evidence import Source, events_of, with_evidence
from zb_contracts.merge.explanations import Explanation
from zb_contracts.merge.state import State, read_state
from zb_contracts.merge.why import explain
from zb_contracts.merge.wording import Language
from zb_contracts.problems import INPUT_INVALID, INPUT_NOT_FOUND, Problem
from zb_contracts.times import format_time_ms

HISTORY_ROWS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Current:
    """A stream's state as it is stored, and as it was read."""

    row: StateRow
    state: State

    @property
    def positions(self) -> dict[str, int]:
        """Shard -> next ledger position: what the state includes."""
        found: dict[str, int] = canonical.decode(self.row.positions)
        return found


async def current_state(connection: Connection, stream: str) -> Current:
    """The state of a stream. Problem INPUT_NOT_FOUND where there is none."""
    row = await states.read_state(connection, stream)
    if row is None:
        kind, _, name = stream.partition(":")
        raise Problem(INPUT_NOT_FOUND, what=kind, id=name)
    return Current(row, read_state(stream, row.state))


async def stream_of(connection: Connection, name: str) -> str:
    """The stream that a person means: its name, an intervention's id, or the number under which customer and ERP know it.

    Problem INPUT_NOT_FOUND for a number that no intervention bears, INPUT_INVALID for one that several bear.
    """
    if ":" in name:
        return name
    if await states.read_state(connection, f"intervention:{name}") is not None:
        return f"intervention:{name}"
    streams = await states.streams_of_reference(connection, name)
    if len(streams) > 1:
        raise Problem(INPUT_INVALID, errors=({"field": "intervention", "reason": f"{len(streams)} bear the number {name}"},))
    if not streams:
        raise Problem(INPUT_NOT_FOUND, what="intervention", id=name)
    return streams[0]


async def explain_stream(
    connection: Connection, stream: str, field: str | None = None, language: Language = "fr"
) -> list[Explanation]:
    """Every decision in the stream's state, or those on one field, each with what its events had seen of each other.

    Problem INPUT_NOT_FOUND where there is no state, FIELD_UNKNOWN for a name that no field of the stream has.
    """
    return await explained(connection, (await current_state(connection, stream)).state, field, language)


async def explained(connection: Connection, state: State, field: str | None, language: Language) -> list[Explanation]:
    """As `explain_stream`, of a state that was read. Problem FIELD_UNKNOWN."""
    decisions = explain(state, field, language)
    return with_evidence(decisions, await _sources(connection, events_of(decisions)), language)


async def _sources(connection: Connection, events: Sequence[str]) -> dict[str, Source]:
    """What the ledger has of these events. One whose header cannot be read would be in no state."""
    rows = await connection.fetch(
        "SELECT event_id, header, facts FROM ledger WHERE event_id = ANY($1::text[]) AND kind <> 'refusal'", list(events)
    )
    return {
        row["event_id"]: Source(seen=parse_header(row["header"]).seen, opaque=canonical.decode(row["facts"]).get("opaque"))
        for row in rows
    }


async def history(connection: Connection, stream: str, *, after: tuple[int, int] = (-1, -1)) -> list[dict[str, Any]]:
    """The stream's ledger rows after (shard, position), at most HISTORY_ROWS_MAX: who, what, and every clock.

    Refusals and held events are part of the history. Bodies are as they came; sealed values stay sealed.
    """
    rows = await connection.fetch(
        """
        SELECT l.shard, l.position, l.kind, l.event_id, l.author, a.kind AS author_kind, l.seq, l.type, l.header, l.body,
            l.received_at_ms, l.facts, l.code
        FROM ledger l JOIN authors a ON a.author = l.author
        WHERE l.stream = $1 AND (l.shard, l.position) > ($2, $3) ORDER BY l.shard, l.position LIMIT $4
        """,
        stream,
        *after,
        HISTORY_ROWS_MAX,
    )
    return [_entry(row) for row in rows]


def _entry(row: Any) -> dict[str, Any]:
    entry = {name: row[name] for name in ("shard", "position", "kind", "author", "author_kind", "seq", "type", "code")}
    entry |= {
        "event": row["event_id"],
        "received_at": format_time_ms(row["received_at_ms"]),
        "facts": msgspec.json.decode(row["facts"]),
        "body": _body(row["body"]),
    }
    try:
        header = parse_header(row["header"])
    except Problem as fault:  # refused in its place because it cannot be read; the bytes are in the ledger
        return entry | {"unreadable": str(fault)}
    return entry | {
        "visit": header.visit,
        "actor": header.actor,
        "at": header.at,
        "elapsed_ms": header.elapsed_ms,
        "anchor": msgspec.to_builtins(header.anchor),
        "seen": header.seen,
    }


def _body(data: bytes) -> Any:
    try:
        return canonical.decode(data)
    except canonical.NotCanonical:
        return None
