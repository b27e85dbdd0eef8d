"""What an auditor sees of an intervention: every event with all its clocks and what it knew, set-aside values, evidence, proofs.

Reads states and ledger rows; HTTP (`dossier_api`) and the terminal view (`browse`) show the same. Nothing is decided here:
sentences are the merge's, proofs are the tree's, and values stay sealed.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from field_ingest.audit.explain import explained, history
from field_ingest.ledger import tree
from field_ingest.proof.witnessing import signature_lines
from zb_chassis.database import Connection
from zb_contracts.merge.state import InterventionState, State
from zb_contracts.merge.wording import Language
from zb_contracts.times import format_time_ms, parse_time_ms

PAGE: Final = 200
"""Interventions in one page of the list."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which interventions to list: None does not filter. `after` is the last stream of the page before."""

    agencies: tuple[str, ...] | None = None
    status: str | None = None
    conflict: bool | None = None
    changed_from_ms: int | None = None
    changed_until_ms: int | None = None
    after: str = ""


async def listed(connection: Connection, wanted: Wanted) -> list[dict[str, Any]]:
    """At most PAGE interventions, by stream. It reads the states that lie between, for a person who asks."""
    rows = await connection.fetch(
        """
        SELECT stream, version, changed_ms, state #>> '{fields,reference,value}' AS reference,
            state #>> '{fields,agency,value}' AS agency, state ->> 'status' AS status,
            jsonb_array_length(state -> 'conflicts') AS conflicts
        FROM (SELECT stream, version, changed_ms, convert_from(state, 'UTF8')::jsonb AS state FROM states
            WHERE kind = 'intervention' AND stream > $1 AND changed_ms >= $2 AND changed_ms < $3 OFFSET 0) s
        WHERE ($4::text[] IS NULL OR state #>> '{fields,agency,value}' = ANY ($4))
            AND ($5::text IS NULL OR state ->> 'status' = $5)
            AND ($6::boolean IS NULL OR (jsonb_array_length(state -> 'conflicts') > 0) = $6)
        ORDER BY stream LIMIT $7
        """,
        wanted.after,
        wanted.changed_from_ms or 0,
        wanted.changed_until_ms or 2**53,
        wanted.agencies,
        wanted.status,
        wanted.conflict,
        PAGE,
    )
    return [
        {**dict(row), "intervention": row["stream"].partition(":")[2], "changed_at": format_time_ms(row["changed_ms"])}
        for row in rows
    ]


async def timeline(connection: Connection, stream: str, *, after: tuple[int, int] = (-1, -1)) -> list[dict[str, Any]]:
    """A page of the stream's rows in the ledger's order. `clocks`: the author's wall clock, the server anchor and the time that
    had passed since on the device, both as one (`anchored`), and when the ledger received it. `knew`: author -> last number."""
    return [_timed(entry) for entry in await history(connection, stream, after=after)]


def _timed(entry: dict[str, Any]) -> dict[str, Any]:
    anchor, elapsed_ms = entry.pop("anchor", None), entry.pop("elapsed_ms", None)
    anchored = None
    if anchor and elapsed_ms is not None:
        anchored = format_time_ms(parse_time_ms(anchor["server_time"]) + elapsed_ms)
    clocks = {
        "wall": entry.pop("at", None),
        "anchor": anchor["server_time"] if anchor else None,
        "elapsed_ms": elapsed_ms,
        "anchored": anchored,
        "received": entry.pop("received_at"),
    }
    return {**entry, "clocks": clocks, "knew": entry.pop("seen", {})}


async def set_aside(connection: Connection, state: State, language: Language) -> list[dict[str, Any]]:
    """Every decision that set a value aside: the rule and its sentence, what stands, what does not, and who knew of whom."""
    values = dict(_values(msgspec.to_builtins(state)))
    decisions = [one for one in await explained(connection, state, None, language) if one.losers]
    return [
        {
            **msgspec.to_builtins(one),
            "stands": values.get((one.winner.event, one.field)) if one.winner else None,
            "set_aside": [values.get((loser.event, one.field)) for loser in one.losers],
        }
        for one in decisions
    ]


def _values(value: Any, name: str = "") -> Iterator[tuple[tuple[str, str], Any]]:
    """Every value in a state, standing or set aside, by its event and field."""
    if isinstance(value, list):
        for inner in value:
            yield from _values(inner, name)
    elif isinstance(value, dict):
        if "value" in value and isinstance(value.get("origin"), dict):
            yield (value["origin"]["event"], value.get("field", name)), value["value"]
        for key, inner in value.items():
            yield from _values(inner, key)


def evidence(state: State) -> list[dict[str, Any]]:
    """The files that the intervention's events name, by hash: what it is, on which line, who signed that, when. Not the bytes."""
    if not isinstance(state, InterventionState):
        return []
    return [
        {
            "kind": line.kind,
            "line": line.id,
            "visit": line.visit,
            "file": file,
            "voided": line.void is not None,
            "origin": msgspec.to_builtins(line.origin),
        }
        for line in state.lines
        for file in _files(line.value)
    ]


def _files(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if {"sha256", "length_bytes"} <= set(value):
            yield value
        for inner in value.values():
            yield from _files(inner)


async def proofs(connection: Connection, places: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Of each (shard, position) the RFC 6962 audit path under a checkpoint: the newest that a witness cosigned, if that reaches
    so far, else the newest; `proof` None where no checkpoint does yet. Checkpoints come once each, with all signature lines."""
    found = []
    for shard in sorted({shard for shard, _ in places}):
        positions = sorted(position for at, position in places if at == shard)
        heads = await connection.fetch(_HEADS, shard)
        for head in heads:
            within = [position for position in positions if position < head["size"]]
            positions = [position for position in positions if position >= head["size"]]
            if within:
                found.append(await _proven(connection, shard, head, within))
        if positions:
            found.append({"shard": shard, "checkpoint": None, "witnesses": 0, "rows": [_row(one, None) for one in positions]})
    return found


# The newest that a witness cosigned, then the newest of all.
_HEADS: Final = """
    (SELECT size, note, (SELECT count(*) FROM cosignatures s WHERE s.shard = c.shard AND s.size = c.size) AS witnesses
     FROM checkpoints c WHERE shard = $1 AND EXISTS (SELECT 1 FROM cosignatures s WHERE s.shard = c.shard AND s.size = c.size)
     ORDER BY size DESC LIMIT 1)
    UNION
    (SELECT size, note, (SELECT count(*) FROM cosignatures s WHERE s.shard = c.shard AND s.size = c.size) FROM checkpoints c
     WHERE shard = $1 ORDER BY size DESC LIMIT 1)
    ORDER BY size
"""


async def _proven(connection: Connection, shard: int, head: Any, positions: list[int]) -> dict[str, Any]:
    paths = await tree.inclusion_proofs(connection, shard, positions, head["size"])
    note = head["note"] + await signature_lines(connection, shard, head["size"])
    rows = [_row(position, path) for position, path in zip(positions, paths, strict=True)]
    return {"shard": shard, "checkpoint": note, "size": head["size"], "witnesses": head["witnesses"], "rows": rows}


def _row(position: int, path: tuple[bytes, ...] | None) -> dict[str, Any]:
    return {"position": position, "proof": None if path is None else [base64.b64encode(one).decode() for one in path]}
