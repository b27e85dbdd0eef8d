"""Held events: what waits for a supervisor, and the word that lets one in.

An admission is `event.admitted.v1` on the held event's stream, in the order of the author's numbers.
"""

from typing import Any, Final

from field_ingest.devices.people import Administrator, Reach, listed
from field_ingest.ledger.keyring import INGEST
from field_ingest.ledger.postgres import PostgresTransaction
from field_ingest.ledger.signing import LedgerAuthor, Statement
from zb_chassis.database import Connection, Pool, transaction
from zb_contracts.envelope import parse_header
from zb_contracts.events.office import EventAdmitted
from zb_contracts.problems import INPUT_INVALID, INPUT_NOT_FOUND, Problem

LIST_MAX: Final = 1_000


class Holds:
    """What supervisors do."""

    def __init__(self, pool: Pool, signer: LedgerAuthor) -> None:
        self._pool = pool
        self._signer = signer

    async def waiting(self, reach: Reach, *, device: str | None = None) -> list[dict[str, Any]]:
        """Events that wait for a supervisor, per author in the order in which they must be decided: the first LIST_MAX.

        Of one device or (None) of all. `actor` is who the event says did it, `revoked_cause` why the device is not believed.
        """
        rows = await self._pool.fetch(
            """
            SELECT h.event_id, h.author, h.seq, h.stream, h.received_at_ms, a.device, a.agency, a.revoked_cause, l.type,
                convert_from(l.header, 'UTF8')::jsonb ->> 'actor' AS actor
            FROM holds h JOIN authors a USING (author) JOIN ledger l ON l.author = h.author AND l.seq = h.seq AND l.chained
            WHERE h.admitted_by IS NULL AND ($1::text[] IS NULL OR a.agency = ANY ($1)) AND ($2::text IS NULL OR a.device = $2)
            ORDER BY h.author, h.seq LIMIT $3
            """,
            listed(reach),
            device,
            LIST_MAX,
        )
        return [dict(row) for row in rows]

    async def admit(self, event_id: str, *, supervisor: Administrator, reason: str) -> str:
        """Admit a held event; the id of the `event.admitted.v1`, the same one when it was admitted before.

        INPUT_NOT_FOUND for what is not held, INPUT_INVALID while an earlier event of its author waits.
        """
        async with transaction(self._pool) as connection:
            # One order of locks everywhere: authors before holds.
            await PostgresTransaction(connection).lock_authors([INGEST])
            hold = await connection.fetchrow(
                """
                SELECT h.author, h.seq, h.stream, h.admitted_by, l.header FROM holds h
                JOIN authors a USING (author) JOIN ledger l ON l.author = h.author AND l.seq = h.seq AND l.chained
                WHERE h.event_id = $1 AND ($2::text[] IS NULL OR a.agency = ANY ($2)) FOR UPDATE OF h
                """,
                event_id,
                listed(supervisor.reach),
            )
            if hold is None:
                raise Problem(INPUT_NOT_FOUND, what="held event", id=event_id)
            if hold["admitted_by"] is not None:
                return str(hold["admitted_by"])
            await _check_turn(connection, hold["author"], hold["seq"])
            body = EventAdmitted(
                event=event_id, author=hold["author"], author_seq=hold["seq"], supervisor=supervisor.person, reason=reason
            )
            seen = parse_header(hold["header"]).seen | {hold["author"]: hold["seq"]}
            [row] = await self._signer.state(
                PostgresTransaction(connection), [Statement(hold["stream"], body, seen, supervisor.person)]
            )
            return row.event_id


async def _check_turn(connection: Connection, author: str, seq: int) -> None:
    earlier = await connection.fetchval(
        "SELECT event_id FROM holds WHERE author = $1 AND seq < $2 AND admitted_by IS NULL ORDER BY seq LIMIT 1", author, seq
    )
    if earlier is not None:
        raise Problem(
            INPUT_INVALID,
            errors=({"field": "event", "reason": f"decided in order: the held event {earlier} comes before it"},),
        )
