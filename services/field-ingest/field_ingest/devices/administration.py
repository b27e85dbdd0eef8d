"""Devices as an administrator sees them: the list, revocation, and the held events that a supervisor admits.

A revocation is `device.revoked.v1` in the ledger; what the device sends afterwards is held, never lost. An admission is
`event.admitted.v1` on the held event's stream, in the order of the author's numbers. A live session is not cut here: a
revocation notes the cut (cuts.py), the warden makes it.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Final, Literal

from field_ingest.devices import cuts
from field_ingest.ledger.keyring import INGEST
from field_ingest.ledger.postgres import PostgresTransaction
from field_ingest.ledger.signing import LedgerAuthor, Statement
from zb_chassis.clock import Clock
from zb_chassis.database import Connection, Pool, transaction
from zb_contracts.envelope import parse_header
from zb_contracts.events.devices import DeviceRevoked
from zb_contracts.events.office import EventAdmitted
from zb_contracts.problems import INPUT_INVALID, INPUT_NOT_FOUND, Problem
from zb_contracts.subjects import ID_PATTERN

LIST_MAX: Final = 1_000

Cause = Literal["lost", "stolen", "retired", "replaced", "suspended"]
Agencies = frozenset[str] | None
"""The agencies that a person may act for; None for all."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """Why a device may no longer be believed."""

    cause: Cause
    reason: str | None = None


class Devices:
    """What administrators and supervisors do with devices."""

    def __init__(self, pool: Pool, signer: LedgerAuthor, clock: Clock, real_clock: Clock) -> None:
        """`real_clock` dates what the broker compares with tokens, `clock` (perhaps a story's) what the ledger says."""
        self._pool = pool
        self._signer = signer
        self._clock = clock
        self._real_clock = real_clock

    async def listed(self, agencies: Agencies) -> list[dict[str, Any]]:
        """Every incarnation of these agencies' devices: how far it is, and what it waits for."""
        rows = await self._pool.fetch(
            """
            SELECT device, author, incarnation, agency, technician, shard, mark, registered_at_ms, revoked_at_ms,
                revoked_cause, stopped_code, gap_at_ms, stray_refusals,
                (SELECT count(*) FROM holds h WHERE h.author = a.author AND h.admitted_by IS NULL) AS held,
                (SELECT cause FROM suspensions s WHERE s.device = a.device AND lifted_at_ms IS NULL
                    AND (until_ms IS NULL OR until_ms > $3)) AS suspended
            FROM authors a WHERE kind = 'device' AND ($1::text[] IS NULL OR agency = ANY ($1))
            ORDER BY device, incarnation LIMIT $2
            """,
            None if agencies is None else sorted(agencies),
            LIST_MAX,
            self._real_clock(),
        )
        return [dict(row) for row in rows]

    async def revoke(self, device: str, revocation: Revocation, agencies: Agencies) -> list[str]:
        """Revoke every incarnation of the device that is not yet, and cut its sessions; all its authors. INPUT_NOT_FOUND."""
        async with transaction(self._pool) as connection:
            await cuts.lock_device(connection, device)
            names = await self._authors(connection, device, agencies)
            await PostgresTransaction(connection).lock_authors([*names, INGEST])
            # Those that the device itself replaced are revoked now as well: a copy of an old store asks under their names.
            rows = await connection.fetch(
                """
                UPDATE authors SET revoked_at_ms = coalesce(revoked_at_ms, $2), revoked_cause = $3
                WHERE author = ANY ($1) AND (revoked_at_ms IS NULL OR revoked_cause = 'replaced') RETURNING author
                """,
                names,
                self._clock(),
                revocation.cause,
            )
            await cuts.cut_device(connection, device, self._real_clock())
            fresh = sorted(row["author"] for row in rows)
            bodies = [
                DeviceRevoked(device=device, author=name, cause=revocation.cause, reason=revocation.reason) for name in fresh
            ]
            if bodies:
                await self._signer.state(
                    PostgresTransaction(connection), [Statement(f"device:{device}", body) for body in bodies]
                )
            return names

    async def held(self, agencies: Agencies) -> list[dict[str, Any]]:
        """Events that wait for a supervisor, per author in the order in which they must be decided."""
        rows = await self._pool.fetch(
            """
            SELECT h.event_id, h.author, h.seq, h.stream, h.received_at_ms, a.device, a.agency, a.revoked_cause
            FROM holds h JOIN authors a USING (author)
            WHERE h.admitted_by IS NULL AND ($1::text[] IS NULL OR a.agency = ANY ($1)) ORDER BY h.author, h.seq LIMIT $2
            """,
            None if agencies is None else sorted(agencies),
            LIST_MAX,
        )
        return [dict(row) for row in rows]

    async def admit(self, event_id: str, *, supervisor: str, reason: str, agencies: Agencies) -> str:
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
                None if agencies is None else sorted(agencies),
            )
            if hold is None:
                raise Problem(INPUT_NOT_FOUND, what="held event", id=event_id)
            if hold["admitted_by"] is not None:
                return str(hold["admitted_by"])
            await self._check_turn(connection, hold["author"], hold["seq"])
            body = EventAdmitted(
                event=event_id, author=hold["author"], author_seq=hold["seq"], supervisor=person_id(supervisor), reason=reason
            )
            seen = parse_header(hold["header"]).seen | {hold["author"]: hold["seq"]}
            [row] = await self._signer.state(
                PostgresTransaction(connection), [Statement(hold["stream"], body, seen, person_id(supervisor))]
            )
            return row.event_id

    async def _authors(self, connection: Connection, device: str, agencies: Agencies) -> list[str]:
        rows = await connection.fetch(
            "SELECT author FROM authors WHERE device = $1 AND ($2::text[] IS NULL OR agency = ANY ($2)) ORDER BY incarnation",
            device,
            None if agencies is None else sorted(agencies),
        )
        if not rows:
            raise Problem(INPUT_NOT_FOUND, what="device", id=device)
        return [row["author"] for row in rows]

    async def _check_turn(self, connection: Connection, author: str, seq: int) -> None:
        earlier = await connection.fetchval(
            "SELECT event_id FROM holds WHERE author = $1 AND seq < $2 AND admitted_by IS NULL ORDER BY seq LIMIT 1", author, seq
        )
        if earlier is not None:
            raise Problem(
                INPUT_INVALID,
                errors=({"field": "event", "reason": f"decided in order: the held event {earlier} comes before it"},),
            )


def person_id(subject: str) -> str:
    """A person's pseudonymous id from the identity provider's subject, which may be no id of ours."""
    if ID_PATTERN.fullmatch(subject):
        return subject
    return "p-" + hashlib.sha256(subject.encode()).hexdigest()[:24]
