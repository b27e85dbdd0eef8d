"""A stream as it was: its state at a moment, and what is different between two moments or two versions of the rules.

Folds the ledger's rows anew each time and keeps nothing. Which rows a moment has is `moments`' matter; all streams at a moment
with one hash are a replay's.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from field_ingest.audit.moments import Moment
from field_ingest.projection import ledger_streams, states
from field_ingest.projection.folding import Folded
from field_ingest.projection.refolding import Author, Cut, Row, cut_at, events_of, refold, standing
from zb_chassis.database import Connection
from zb_contracts.merge.headers import merge_header
from zb_contracts.merge.state import State
from zb_contracts.problems import INPUT_NOT_FOUND, Problem

_BOOKKEEPING: Final = frozenset({"stream", "rule_version", "vector", "events"})
"""Keys that change with every event and say nothing of the work."""


@dataclass(frozen=True, slots=True)
class Then:
    """The state of a stream at a moment, and how many of its events are in it."""

    state: State
    state_json: bytes
    events: int


class Change(msgspec.Struct, frozen=True):
    """One field that is another one. `because`: ids of the events that are in one of the two pasts only, as far as they name
    the field's values, all of them where the value follows from many (a status); of two versions of the rules, those that the
    rules judge differently."""

    field: str
    before: Any
    after: Any
    because: list[str]


class Difference(msgspec.Struct, frozen=True):
    """A stream that is not the same. `come` and `gone` are the events that only the second or only the first past has."""

    stream: str
    changes: list[Change]
    come: list[str]
    gone: list[str]


async def state_at(connection: Connection, stream: str, moment: Moment) -> Then:
    """The state of a stream at a moment. MomentUnreadable; Problem INPUT_NOT_FOUND where nothing of it stood by then."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        cut = cut_at(moment, await states.ledger_sizes(connection))
        authors = await ledger_streams.authors(connection)
        rows = await ledger_streams.rows_of(connection, cut, stream)
    folded = refold(stream, rows, cut, authors) if rows else None
    if folded is None:
        kind, _, name = stream.partition(":")
        raise Problem(INPUT_NOT_FOUND, what=kind, id=name)
    return Then(folded.state, folded.state_json, folded.events)


async def differences(
    connection: Connection, first: Moment, second: Moment, stream: str | None = None
) -> AsyncIterator[Difference]:
    """Every stream (or this one) that is not the same at the second moment as at the first, in order of name."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        sizes = await states.ledger_sizes(connection)
        cuts = cut_at(first, sizes), cut_at(second, sizes)
        authors = await ledger_streams.authors(connection)
        everything = cut_at(Moment(), sizes)
        if stream is not None:
            rows = await ledger_streams.rows_of(connection, everything, stream)
            found = _difference(stream, rows, cuts, authors) if rows else None
            if found is not None:
                yield found
            return
        async for name, rows in ledger_streams.streams_from(connection, everything, "", None):
            found = _difference(name, rows, cuts, authors)
            if found is not None:
                yield found


def _difference(stream: str, rows: Sequence[Row], cuts: tuple[Cut, Cut], authors: Mapping[str, Author]) -> Difference | None:
    first, second = (cut.of_stream(rows) for cut in cuts)
    ids = _ids(first, cuts[0], authors), _ids(second, cuts[1], authors)
    if ids[0] == ids[1] and cuts[0].rules == cuts[1].rules:
        return None
    before, after = _plain(refold(stream, first, cuts[0], authors)), _plain(refold(stream, second, cuts[1], authors))
    come, gone = ids[1] - ids[0], ids[0] - ids[1]
    changes = list(_changes("", before, after, come | gone))
    return Difference(stream, changes, sorted(come), sorted(gone)) if changes or come or gone else None


def _ids(rows: Sequence[Row], cut: Cut, authors: Mapping[str, Author]) -> frozenset[str]:
    if cut.occurred_ms is None:
        return frozenset(merge_header(row.header).id for row in standing(rows))
    return frozenset(event.id for event in events_of(standing(rows), authors, cut.occurred_ms))


def _plain(folded: Folded | None) -> dict[str, Any]:
    if folded is None:
        return {}
    state: dict[str, Any] = msgspec.json.decode(folded.state_json)
    return {key: value for key, value in state.items() if key not in _BOOKKEEPING}


def _changes(path: str, before: Any, after: Any, only_one_has: frozenset[str]) -> Iterable[Change]:
    """Down to what has an origin of its own (a register, a line, a request), or is a plain value."""
    before, after = _by_id(before), _by_id(after)
    if before == after:
        return
    mappings = isinstance(before, dict | None) and isinstance(after, dict | None)
    if not mappings or _has_origin(before) or _has_origin(after):
        named = sorted(_events_in(before) ^ _events_in(after) or _events_in(after))
        told = [one for one in named if one in only_one_has] or named or sorted(only_one_has)
        yield Change(path, _value(before), _value(after), told)
        return
    before, after = before or {}, after or {}
    for key in sorted({*before, *after}):
        yield from _changes(f"{path}.{key}" if path else key, before.get(key), after.get(key), only_one_has)


def _by_id(value: Any) -> Any:
    """A list of things with ids as a mapping, so that one that came does not move the others."""
    if isinstance(value, list) and value and all(isinstance(one, dict) and isinstance(one.get("id"), str) for one in value):
        return {one["id"]: one for one in value}
    return value or None if isinstance(value, list) else value


def _has_origin(value: Any) -> bool:
    return isinstance(value, dict) and "origin" in value


def _value(value: Any) -> Any:
    """What a person compares: a register's value, with what was set aside where something was."""
    if not _has_origin(value) or "value" not in value:
        return value
    aside = [one["value"] for one in value.get("set_aside", ())]
    return {"value": value["value"], "set_aside": aside} if aside else value["value"]


def _events_in(value: Any) -> set[str]:
    """Ids of the events that a part of a state names."""
    if isinstance(value, list):
        return {one for item in value for one in _events_in(item)}
    if not isinstance(value, dict):
        return set()
    own = {value["event"]} if isinstance(value.get("event"), str) else set()
    return own | {one for item in value.values() for one in _events_in(item)}
