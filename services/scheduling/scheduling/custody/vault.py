"""The keys of data subjects: made, opened, held, destroyed, and destroyed again after a restore.

A key lies here under the master key and nowhere else. Destroying is written to the journal first, durably, and then done: after
a crash or a restore `forget_again` finishes it. It tells nobody; the word in the ledger is `erasure`'s.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from scheduling.custody.journal import Cause, Deletion
from scheduling.custody.policy import RULES, Purpose, kept_until_ms, period_of
from scheduling.custody.records import Entitled, KeyRecord, MadeKey, Subject, SubjectKey, Untold, Use
from scheduling.ids import IdSource
from zb_chassis.database import Connection, Pool, transaction
from zb_chassis.journal import Journal
from zb_contracts.problems import (
    EXISTS_DIFFERENT,
    SUBJECT_ERASED,
    SUBJECT_HELD,
    SUBJECT_NOT_HELD,
    SUBJECT_RETAINED,
    SUBJECT_UNKNOWN,
    Problem,
)
from zb_contracts.sealed import (
    SealedValue,
    fresh_nonce,
    fresh_subject_key,
    from_base64url,
    open_sealed_value,
    seal,
    to_base64url,
)
from zb_contracts.times import format_time_ms

MASTER: Final = "master"
EXPIRED_AT_ONCE: Final = 200
_FIELD: Final = "subject-key"


class Vault:
    """The keys of one deployment. `master` (32 bytes) opens them all."""

    def __init__(self, pool: Pool, master: bytes, journal: Journal[Deletion], ids: IdSource) -> None:
        self._pool = pool
        self._master = master
        self._journal = journal
        self._ids = ids

    async def key(self, subject: str, agency: str, purpose: Purpose, at_ms: int, now_ms: int | None = None) -> SubjectKey:
        """The subject's living key for this purpose at the moment `at_ms`; made (`now_ms`, else then) where there is none."""
        period, made_at_ms = period_of(purpose, at_ms), at_ms if now_ms is None else now_ms
        async with transaction(self._pool) as connection:
            await _known(connection, subject, agency)
            found = await connection.fetchrow(
                "SELECT kid, sealed FROM custody.subject_key WHERE subject = $1 AND purpose = $2 AND period = $3"
                " AND sealed IS NOT NULL AND made_by = ''",
                subject,
                purpose,
                period.name,
            )
            if found is not None:
                return self._opened(found["kid"], found["sealed"])
            made = SubjectKey(f"subject-{self._ids(made_at_ms)}", fresh_subject_key())
            await connection.execute(
                "INSERT INTO custody.subject_key (kid, subject, purpose, period, sealed, made_at_ms, expires_at_ms)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7)",
                made.kid,
                subject,
                purpose,
                period.name,
                self._closed(made),
                made_at_ms,
                period.expires_at_ms,
            )
            return made

    async def take(self, made: MadeKey, uses: Sequence[Use], picture: str | None, now_ms: int) -> None:
        """Keep a key that a device made; the same one again changes nothing, not even where it was destroyed since.

        Problem EXISTS_DIFFERENT when there is another one of that name.
        """
        period = period_of(made.purpose, made.at_ms)
        async with transaction(self._pool) as connection:
            await _known(connection, made.subject, made.agency)
            await connection.execute(
                "INSERT INTO custody.subject_key (kid, subject, purpose, period, sealed, made_at_ms, expires_at_ms, made_by,"
                " taken_at_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (kid) DO NOTHING",
                made.kid,
                made.subject,
                made.purpose,
                period.name,
                self._closed(SubjectKey(made.kid, made.key)),
                made.at_ms,
                period.expires_at_ms,
                made.made_by,
                now_ms,
            )
            owner = await connection.fetchval("SELECT (subject, made_by) FROM custody.subject_key WHERE kid = $1", made.kid)
            if tuple(owner) != (made.subject, made.made_by):
                raise Problem(EXISTS_DIFFERENT, what="subject key", id=made.kid)
            await _note(connection, made.kid, uses)
            if picture is not None:
                await connection.execute(
                    "INSERT INTO custody.picture (kid, sha256) VALUES ($1, $2) ON CONFLICT DO NOTHING", made.kid, picture
                )

    async def taken_since(self, device: str, since_ms: int) -> int:
        """How many keys that device has handed in since then."""
        count = await self._pool.fetchval(
            "SELECT count(*) FROM custody.subject_key WHERE made_by = $1 AND made_by <> '' AND taken_at_ms > $2", device, since_ms
        )
        return int(count)

    async def entitled(
        self, streams: Sequence[str], purposes: Sequence[str], subject: str, own: Sequence[str], held: Sequence[str]
    ) -> list[Entitled]:
        """Living keys by kid: those of `purposes` under which a value stands on one of `streams`, and the subject's `own`.

        Of these a device may be full; keys that it made itself are named only where it holds them.
        """
        rows = await self._pool.fetch(
            "SELECT kid, subject, purpose, period, made_by = '' AS is_own FROM custody.subject_key WHERE sealed IS NOT NULL AND ("
            " (purpose = ANY ($2) AND kid IN (SELECT kid FROM custody.use WHERE stream = ANY ($1)))"
            " OR (subject = $3 AND purpose = ANY ($4) AND (made_by = '' OR kid = ANY ($5)))) ORDER BY kid",
            list(streams),
            list(purposes),
            subject,
            list(own),
            list(held),
        )
        return [Entitled(row["kid"], row["subject"], Purpose(row["purpose"]), row["period"], row["is_own"]) for row in rows]

    async def opened(self, kids: Sequence[str]) -> dict[str, SubjectKey]:
        """Those of these keys that live, by name."""
        rows = await self._pool.fetch(
            "SELECT kid, sealed FROM custody.subject_key WHERE kid = ANY ($1) AND sealed IS NOT NULL", list(kids)
        )
        return {row["kid"]: self._opened(row["kid"], row["sealed"]) for row in rows}

    async def note(self, kid: str, uses: Sequence[Use]) -> None:
        """Where values under this key are about to stand."""
        async with transaction(self._pool) as connection:
            await _note(connection, kid, uses)

    async def subject(self, subject: str) -> Subject:
        """Everything that may be told of a subject. Problem SUBJECT_UNKNOWN."""
        async with self._pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            return await _subject(connection, await _row(connection, subject))

    async def destroy(self, subject: str, now_ms: int, pictures: Sequence[str] = ()) -> tuple[str, ...]:
        """Destroy every living key that no law keeps; their ids. `pictures`: hashes of files that show the subject.

        Problems SUBJECT_UNKNOWN, SUBJECT_HELD, SUBJECT_ERASED (none lives), SUBJECT_RETAINED (the law keeps them all).
        """
        async with transaction(self._pool) as connection:
            record = await _subject(connection, await _locked(connection, subject))
            erasable = _erasable(record, now_ms)
            await connection.executemany(
                "INSERT INTO custody.picture (kid, sha256) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                [(erasable[0][0], sha256) for sha256 in pictures],
            )
            return await self._destroyed(connection, erasable, "request", now_ms)

    async def destroy_expired(self, now_ms: int) -> tuple[str, ...]:
        """Destroy keys whose time is over and whose subject is under no hold, at most EXPIRED_AT_ONCE; their ids."""
        async with transaction(self._pool) as connection:
            rows = await connection.fetch(
                "SELECT key.kid, key.subject FROM custody.subject_key key JOIN custody.subject USING (subject)"
                " WHERE key.sealed IS NOT NULL AND key.expires_at_ms <= $1 AND hold_case IS NULL"
                " ORDER BY key.expires_at_ms, key.kid LIMIT $2 FOR UPDATE",
                now_ms,
                EXPIRED_AT_ONCE,
            )
            return await self._destroyed(connection, [(row["kid"], row["subject"]) for row in rows], "expired", now_ms)

    async def hold(self, subject: str, case: str, now_ms: int) -> None:
        """Put a subject under legal hold: no key of it is destroyed until it is lifted. SUBJECT_UNKNOWN, SUBJECT_HELD."""
        async with transaction(self._pool) as connection:
            row = await _locked(connection, subject)
            if row["hold_case"] not in (None, case):
                raise _held(row)
            await connection.execute(
                "UPDATE custody.subject SET hold_case = $2, held_since_ms = coalesce(held_since_ms, $3) WHERE subject = $1",
                subject,
                case,
                now_ms,
            )

    async def lift(self, subject: str) -> None:
        """End the legal hold. SUBJECT_UNKNOWN, SUBJECT_NOT_HELD."""
        async with transaction(self._pool) as connection:
            row = await _locked(connection, subject)
            if row["hold_case"] is None:
                raise Problem(SUBJECT_NOT_HELD, subject=subject)
            await connection.execute(
                "UPDATE custody.subject SET hold_case = NULL, held_since_ms = NULL WHERE subject = $1", subject
            )

    async def pictures(self, kids: Sequence[str]) -> tuple[str, ...]:
        """The hashes of the pictures that go with these keys, also of those that are destroyed."""
        async with self._pool.acquire() as connection:
            found = await _pictures(connection, kids)
        return tuple(sorted({sha256 for of in found.values() for sha256 in of}))

    async def untold(self) -> list[Untold]:
        """Destroyed keys of which the ledger has no word yet, by subject and cause."""
        rows = await self._pool.fetch(
            "SELECT kid, subject, agency, cause FROM custody.subject_key JOIN custody.subject USING (subject)"
            " JOIN custody.deletion USING (kid, subject) WHERE sealed IS NULL AND NOT told ORDER BY subject, cause, kid"
        )
        groups = groupby(rows, key=lambda row: (row["subject"], row["agency"], row["cause"]))
        return [Untold(subject, agency, cause, tuple(row["kid"] for row in of)) for (subject, agency, cause), of in groups]

    async def told(self, kids: Sequence[str]) -> None:
        """The ledger was told of these."""
        await self._pool.execute("UPDATE custody.subject_key SET told = true WHERE kid = ANY ($1)", list(kids))

    async def forget_again(self) -> int:
        """Play the journal: every key that it names is destroyed, in a restored database too; how many still lived."""
        lived = 0
        async with transaction(self._pool) as connection:
            for deletion in self._journal.read():
                lived += await _forget(connection, deletion)
        return lived

    async def _destroyed(
        self, connection: Connection, keys: Sequence[tuple[str, str]], cause: Cause, now_ms: int
    ) -> tuple[str, ...]:
        """The journal first: what is durable there is destroyed at the next start, if this transaction never commits."""
        pictures = await _pictures(connection, [kid for kid, _ in keys])
        deletions = [Deletion(kid, subject, cause, now_ms, pictures.get(kid, ())) for kid, subject in keys]
        if deletions:
            await self._journal.append(deletions)
        for deletion in deletions:
            await _forget(connection, deletion)
        return tuple(kid for kid, _ in keys)

    def _closed(self, made: SubjectKey) -> dict[str, Any]:
        value = seal(self._master, MASTER, made.kid, _FIELD, to_base64url(made.key), fresh_nonce())
        return value.model_dump(mode="json")

    def _opened(self, kid: str, sealed: Mapping[str, Any]) -> SubjectKey:
        text = open_sealed_value(self._master, kid, _FIELD, SealedValue.model_validate(sealed))
        return SubjectKey(kid, from_base64url(text))


async def _forget(connection: Connection, deletion: Deletion) -> int:
    await connection.executemany(
        "INSERT INTO custody.picture (kid, sha256) SELECT kid, $2 FROM custody.subject_key WHERE kid = $1 ON CONFLICT DO NOTHING",
        [(deletion.kid, sha256) for sha256 in deletion.pictures],
    )
    done = await connection.execute(
        "UPDATE custody.subject_key SET sealed = NULL, destroyed_at_ms = $2 WHERE kid = $1 AND sealed IS NOT NULL",
        deletion.kid,
        deletion.at_ms,
    )
    await connection.execute(
        "INSERT INTO custody.deletion (kid, subject, cause, at_ms) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        deletion.kid,
        deletion.subject,
        deletion.cause,
        deletion.at_ms,
    )
    return int(done.rpartition(" ")[2])


async def _known(connection: Connection, subject: str, agency: str) -> None:
    """The subject's row, there and locked."""
    await connection.execute(
        "INSERT INTO custody.subject (subject, agency) VALUES ($1, $2) ON CONFLICT DO NOTHING", subject, agency
    )
    await _locked(connection, subject)


async def _note(connection: Connection, kid: str, uses: Sequence[Use]) -> None:
    await connection.executemany(
        "INSERT INTO custody.use (kid, stream, event, field) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        [(kid, use.stream, use.event, use.field) for use in uses],
    )


async def _pictures(connection: Connection, kids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    rows = await connection.fetch(
        "SELECT kid, array_agg(sha256 ORDER BY sha256) AS pictures FROM custody.picture WHERE kid = ANY ($1) GROUP BY kid",
        list(kids),
    )
    return {row["kid"]: tuple(row["pictures"]) for row in rows}


async def _row(connection: Connection, subject: str, lock: str = "") -> Any:
    row = await connection.fetchrow(f"SELECT * FROM custody.subject WHERE subject = $1 {lock}", subject)  # noqa: S608 - ours
    if row is None:
        raise Problem(SUBJECT_UNKNOWN, subject=subject)
    return row


async def _locked(connection: Connection, subject: str) -> Any:
    return await _row(connection, subject, "FOR UPDATE")


async def _subject(connection: Connection, row: Any) -> Subject:
    keys = await connection.fetch("SELECT * FROM custody.subject_key WHERE subject = $1 ORDER BY made_at_ms, kid", row["subject"])
    uses: dict[str, list[Use]] = {key["kid"]: [] for key in keys}
    for use in await connection.fetch("SELECT * FROM custody.use WHERE kid = ANY ($1) ORDER BY stream, event, field", list(uses)):
        uses[use["kid"]].append(Use(use["stream"], use["event"], use["field"]))
    records = [
        KeyRecord(
            kid=key["kid"],
            purpose=Purpose(key["purpose"]),
            period=key["period"],
            made_at_ms=key["made_at_ms"],
            expires_at_ms=key["expires_at_ms"],
            destroyed_at_ms=key["destroyed_at_ms"],
            uses=tuple(uses[key["kid"]]),
        )
        for key in keys
    ]
    return Subject(row["subject"], row["agency"], row["hold_case"], row["held_since_ms"], tuple(records))


def _erasable(subject: Subject, now_ms: int) -> list[tuple[str, str]]:
    """The living keys that no law keeps, as (kid, subject)."""
    if subject.hold_case is not None:
        raise _held({"subject": subject.id, "hold_case": subject.hold_case, "held_since_ms": subject.held_since_ms})
    living = [key for key in subject.keys if key.lives]
    if not living:
        raise erased(subject)
    free = [key for key in living if (kept_until_ms(key.purpose, key.made_at_ms) or 0) <= now_ms]
    if not free:
        last = max(living, key=lambda key: kept_until_ms(key.purpose, key.made_at_ms) or 0)
        until = kept_until_ms(last.purpose, last.made_at_ms) or 0
        raise Problem(SUBJECT_RETAINED, subject=subject.id, until=format_time_ms(until), basis=RULES[last.purpose].basis)
    return [(key.kid, subject.id) for key in free]


def erased(subject: Subject) -> Problem:
    """The refusal to open or destroy what is destroyed."""
    at = max(key.destroyed_at_ms or 0 for key in subject.keys)
    return Problem(SUBJECT_ERASED, subject=subject.id, at=format_time_ms(at))


def _held(row: Any) -> Problem:
    return Problem(SUBJECT_HELD, subject=row["subject"], case=row["hold_case"], since=format_time_ms(row["held_since_ms"]))
