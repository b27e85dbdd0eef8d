"""Puts what a replay's shadow has into the live read side: partition by partition, each in one short transaction.

Under a partition's lock the shadow catches up with it and only what differs is written, so that readers wait for nothing and
see nothing missing, projection of the other partitions goes on, and versions and the scopes' orders only ever grow. What
is announced and given to devices is what changed. It builds no shadow: `replay` does.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from field_ingest.projection import marks, rest_store, scope_store, states
from field_ingest.projection.ports import Marks
from field_ingest.projection.projector import Projector, announcement_of
from zb_chassis import outbox
from zb_chassis.clock import Clock
from zb_chassis.database import Connection
from zb_contracts import canonical
from zb_contracts.merge.state import InterventionState, read_state

ANNOUNCED_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Swapped:
    """What a swap changed, and the longest time for which it kept a partition's worker waiting."""

    states: int = 0
    members: int = 0
    announced: int = 0
    longest_pause_ms: int = 0

    def as_json(self) -> dict[str, int]:
        """For the last line of the command."""
        return {
            "states_changed": self.states,
            "members_changed": self.members,
            "announced": self.announced,
            "longest_pause_ms": self.longest_pause_ms,
        }


@dataclass(frozen=True, slots=True)
class _Places:
    """The schemas' names, and the partition under work."""

    live: str
    shadow: str
    partition: int
    of: int

    def on(self, sql: str) -> str:
        """The statement with `{live}` and `{shadow}` filled in: names of our own making."""
        return sql.format(live=self.live, shadow=self.shadow)


async def swap(connection: Connection, live: str, shadow: str, projector: Projector, clock: Clock) -> Swapped:
    """Goes through all partitions. `connection` has the shadow first on its search path, `projector` works there."""
    total = Swapped()
    of = await marks.how_many(connection)
    for partition in range(of):
        places = _Places(live, shadow, partition, of)
        await _approach(connection, places, projector)
        one = await _swap_partition(connection, places, projector, clock)
        total = Swapped(
            total.states + one.states,
            total.members + one.members,
            total.announced + one.announced,
            max(total.longest_pause_ms, one.longest_pause_ms),
        )
    return total


async def _approach(connection: Connection, places: _Places, projector: Projector) -> None:
    """Brings the shadow's partition close to the live one, without a lock: what is left for the pause is little."""
    await _catch_up(places, projector, await _live_marks(connection, places))


async def _swap_partition(connection: Connection, places: _Places, projector: Projector, clock: Clock) -> Swapped:
    damaged = await _damaged(connection, places)
    began = time.monotonic()
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(
            places.on("SELECT FROM {live}.projection_partition WHERE projection = $1 AND partition = $2 FOR UPDATE"),
            marks.PROJECTION,
            places.partition,
        )
        at = await _live_marks(connection, places)
        await _catch_up(places, projector, at)
        await connection.execute(f"SET LOCAL search_path = {places.live}")
        changed = await _write_states(connection, places, damaged, at, clock())
        members = await _write_members(connection, places)
        await _write_lists(connection, places)
        await rest_store.forget(connection, changed)
        await scope_store.note_due(connection, streams=changed, technicians=members)
        announced = await _announce(connection, changed, at)
    return Swapped(len(changed), len(members), announced, round(1000 * (time.monotonic() - began)))


async def _live_marks(connection: Connection, places: _Places) -> dict[int, int]:
    rows = await connection.fetch(
        places.on("SELECT shard, position FROM {live}.partition_mark WHERE projection = $1 AND partition = $2"),
        marks.PROJECTION,
        places.partition,
    )
    return {row["shard"]: row["position"] for row in rows}


async def _catch_up(places: _Places, projector: Projector, until: Marks) -> None:
    while (await projector.step([places.partition], {places.partition: until})).passed:
        pass


async def _damaged(connection: Connection, places: _Places) -> list[str]:
    """Live states whose bytes are not those that their hash names: found without a lock, for it reads everything."""
    rows = await connection.fetch(
        places.on(
            """
            SELECT stream FROM {live}.states
            WHERE stream_partition(stream, $2) = $1 AND sha256(state) <> state_hash
            """
        ),
        places.partition,
        places.of,
    )
    return [row["stream"] for row in rows]


async def _write_states(connection: Connection, places: _Places, damaged: Sequence[str], at: Marks, now_ms: int) -> list[str]:
    """The streams whose state is another one now. A stream that the shadow could not fold keeps the state that it had."""
    written = await connection.fetch(
        places.on(
            """
            INSERT INTO {live}.states AS l (stream, kind, rule_version, state, document, state_hash, vector, positions, version,
                changed_ms)
            SELECT s.stream, s.kind, s.rule_version, s.state, s.document, s.state_hash, s.vector, $4, s.version, $5
            FROM {shadow}.states s LEFT JOIN {live}.states o ON o.stream = s.stream
            WHERE stream_partition(s.stream, $2) = $1 AND (s.stream = ANY($3) OR (s.state_hash, s.rule_version, s.vector)
                IS DISTINCT FROM (o.state_hash, o.rule_version, o.vector))
            ON CONFLICT (stream) DO UPDATE SET rule_version = excluded.rule_version, state = excluded.state,
                document = excluded.document, state_hash = excluded.state_hash, vector = excluded.vector,
                positions = excluded.positions, version = l.version + 1, changed_ms = excluded.changed_ms
            RETURNING stream
            """
        ),
        places.partition,
        places.of,
        list(damaged),
        canonical.encode({str(shard): position for shard, position in at.items()}),
        now_ms,
    )
    gone = await connection.fetch(
        places.on(
            """
            DELETE FROM {live}.states l WHERE stream_partition(l.stream, $2) = $1
                AND NOT EXISTS (SELECT FROM {shadow}.states s WHERE s.stream = l.stream)
                AND NOT EXISTS (SELECT FROM {shadow}.quarantine q WHERE q.stream = l.stream)
            RETURNING l.stream
            """
        ),
        places.partition,
        places.of,
    )
    return sorted(row["stream"] for row in [*written, *gone])


async def _write_members(connection: Connection, places: _Places) -> list[str]:
    """Sets the members of the partition's interventions; the technicians whom that concerns."""
    rows = await connection.fetch(
        places.on(
            """
            WITH gone AS (
                DELETE FROM {live}.scope_member l WHERE stream_partition(l.intervention, $2) = $1
                    AND NOT EXISTS (SELECT FROM {shadow}.scope_member s
                        WHERE (s.technician, s.intervention) = (l.technician, l.intervention))
                    AND NOT EXISTS (SELECT FROM {shadow}.quarantine q WHERE q.stream = l.intervention)
                RETURNING l.technician
            ), written AS (
                INSERT INTO {live}.scope_member (technician, intervention, site, equipment, held, planned_ms, expires_ms,
                    catalogues)
                SELECT s.technician, s.intervention, s.site, s.equipment, s.held, s.planned_ms, s.expires_ms, s.catalogues
                FROM {shadow}.scope_member s LEFT JOIN {live}.scope_member o
                    ON (o.technician, o.intervention) = (s.technician, s.intervention)
                WHERE stream_partition(s.intervention, $2) = $1 AND (s.site, s.equipment, s.held, s.planned_ms, s.expires_ms,
                    s.catalogues) IS DISTINCT FROM (o.site, o.equipment, o.held, o.planned_ms, o.expires_ms, o.catalogues)
                ON CONFLICT (technician, intervention) DO UPDATE SET site = excluded.site, equipment = excluded.equipment,
                    held = excluded.held, planned_ms = excluded.planned_ms, expires_ms = excluded.expires_ms,
                    catalogues = excluded.catalogues
                RETURNING technician
            )
            SELECT technician FROM gone UNION SELECT technician FROM written ORDER BY technician
            """
        ),
        places.partition,
        places.of,
    )
    return [row["technician"] for row in rows]


async def _write_lists(connection: Connection, places: _Places) -> None:
    """Quarantine and lifted events, which nobody reads but the projection itself and receipts."""
    for statement in (
        """
        DELETE FROM {live}.quarantine l WHERE stream_partition(l.stream, $2) = $1
            AND NOT EXISTS (SELECT FROM {shadow}.quarantine s WHERE s.stream = l.stream)
        """,
        """
        INSERT INTO {live}.quarantine (stream, reason, tries, since_ms, last_ms)
        SELECT stream, reason, tries, since_ms, last_ms FROM {shadow}.quarantine WHERE stream_partition(stream, $2) = $1
        ON CONFLICT DO NOTHING
        """,
        """
        DELETE FROM {live}.lifted l WHERE stream_partition(l.stream, $2) = $1 AND NOT EXISTS (
            SELECT FROM {shadow}.lifted s WHERE (s.event_id, s.author, s.seq, s.stream) = (l.event_id, l.author, l.seq, l.stream))
        """,
        """
        INSERT INTO {live}.lifted (event_id, author, seq, stream, shard, position)
        SELECT event_id, author, seq, stream, shard, position FROM {shadow}.lifted WHERE stream_partition(stream, $2) = $1
        ON CONFLICT DO NOTHING
        """,
    ):
        await connection.execute(places.on(statement), places.partition, places.of)


async def _announce(connection: Connection, streams: Sequence[str], at: Marks) -> int:
    announced = 0
    for first in range(0, len(streams), ANNOUNCED_PAGE):
        messages = []
        for stream in streams[first : first + ANNOUNCED_PAGE]:
            row = await states.read_state(connection, stream)
            state: Any = read_state(stream, row.state) if row else None
            if row is not None and isinstance(state, InterventionState):
                messages.append(announcement_of(state, row, at))
        await outbox.enqueue_all(connection, messages)
        announced += len(messages)
    return announced
