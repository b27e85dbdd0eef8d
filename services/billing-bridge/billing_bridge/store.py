"""All SQL of the billing bridge. Nothing here commits: the caller's transaction does.

Locks are taken in one order: the profile's row, the author's row, the outbox. Reference data and facts are kept as the JSON of
their contract; this module turns rows into the domain's types and back and decides nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from billing_bridge.domain import Bill, Billed, Reference
from billing_bridge.facts import Facts, Proof
from billing_bridge.rating import BilledLine, Terms
from zb_chassis.database import Connection, Pool
from zb_contracts.announcements import Contract, ContractsPublished, PriceListPublished
from zb_contracts.envelope import GENESIS
from zb_contracts.problems import EXISTS_DIFFERENT, Problem


@dataclass(frozen=True, slots=True)
class Candidate:
    """A closed intervention that a profile has not settled at this version."""

    intervention: str
    state_version: int
    facts: Facts
    stored: frozenset[Proof]
    billed: Billed | None


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A frozen batch without its bytes."""

    profile: str
    batch: int
    frozen_at_ms: int
    currency: str
    interventions: int
    lines: int
    net_cents: int
    vat_cents: int
    delivered_at_ms: int | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file of a batch, whole."""

    name: str
    sha256: str
    content: bytes


@dataclass(frozen=True, slots=True)
class AuthorHead:
    """The last event of the author."""

    seq: int
    hash: str


_BATCH = "profile, batch, frozen_at_ms, currency, interventions, lines, net_cents, vat_cents, delivered_at_ms, fault"
_CANDIDATES = """
SELECT i.intervention::text, i.state_version, i.facts, i.stored, billed.rated, billed.terms
FROM billing.intervention i
LEFT JOIN billing.settled s ON s.profile = $1 AND s.intervention = i.intervention
LEFT JOIN LATERAL (
    SELECT e.rated, e.terms FROM billing.export e
    WHERE e.profile = $1 AND e.intervention = i.intervention ORDER BY e.batch DESC LIMIT 1
) billed ON true
WHERE i.closed AND i.state_version > coalesce(s.state_version, 0) AND ($2::uuid IS NULL OR i.intervention > $2)
ORDER BY i.intervention LIMIT $3
"""


# --- what was heard ---


async def save_state(connection: Connection, intervention: str, version: int, facts: Facts) -> None:
    """Keep the facts of a newer version of the state; an older one changes nothing."""
    await connection.execute(
        "INSERT INTO billing.intervention AS known (intervention, state_version, facts, closed) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (intervention) DO UPDATE SET state_version = $2, facts = $3, closed = $4"
        " WHERE known.state_version < $2",
        intervention,
        version,
        msgspec.to_builtins(facts),
        facts.closed,
    )


async def save_evidence(connection: Connection, intervention: str, version: int, stored: Sequence[Proof]) -> None:
    """Keep which proofs are stored, by a newer announcement; an older one changes nothing."""
    await connection.execute(
        "INSERT INTO billing.intervention AS known (intervention, evidence_version, stored) VALUES ($1, $2, $3)"
        " ON CONFLICT (intervention) DO UPDATE SET evidence_version = $2, stored = $3 WHERE known.evidence_version < $2",
        intervention,
        version,
        msgspec.to_builtins(stored),
    )


async def save_price_list(connection: Connection, published: PriceListPublished) -> None:
    """Keep a version of a price list. Problem EXISTS_DIFFERENT when that version is known with another content."""
    content = published.model_dump(mode="json")
    known = await connection.fetchval(
        "INSERT INTO billing.price_list AS known (price_list, version, content) VALUES ($1, $2, $3)"
        " ON CONFLICT (price_list, version) DO UPDATE SET content = known.content RETURNING content",
        published.price_list,
        published.version,
        content,
    )
    if known != content:
        raise Problem(EXISTS_DIFFERENT, what="price list", id=f"{published.price_list} version {published.version}")


async def save_contracts(connection: Connection, published: ContractsPublished) -> None:
    """Keep an agency's newer contracts; an older publication changes nothing. Problem EXISTS_DIFFERENT when the version
    is known with another content."""
    content = published.model_dump(mode="json")
    row = await connection.fetchrow(
        "INSERT INTO billing.contracts AS known (agency, version, content) VALUES ($1, $2, $3)"
        " ON CONFLICT (agency) DO UPDATE SET version = greatest(known.version, $2),"
        " content = CASE WHEN known.version < $2 THEN excluded.content ELSE known.content END RETURNING version, content",
        published.agency,
        published.version,
        content,
    )
    assert row is not None
    if row["version"] == published.version and row["content"] != content:
        raise Problem(EXISTS_DIFFERENT, what="contracts", id=f"{published.agency} version {published.version}")


async def load_reference(connection: Connection | Pool) -> Reference:
    """All reference data."""
    lists: dict[str, list[PriceListPublished]] = {}
    for row in await connection.fetch("SELECT content FROM billing.price_list ORDER BY price_list, version"):
        published = PriceListPublished.model_validate(row["content"])
        lists.setdefault(published.price_list, []).append(published)
    rows = await connection.fetch("SELECT content FROM billing.contracts ORDER BY agency")
    contracts = [ContractsPublished.model_validate(row["content"]) for row in rows]
    return Reference(lists, {one.agency: one for one in contracts})


async def candidates(connection: Connection | Pool, profile: str, *, after: str | None, limit: int) -> list[Candidate]:
    """The next closed interventions that the profile has not settled, in the order of their ids."""
    rows = await connection.fetch(_CANDIDATES, profile, after, limit)
    return [_candidate(*row) for row in rows]


async def settle(connection: Connection, profile: str, versions: Mapping[str, int]) -> None:
    """Nothing more is needed of these interventions (id -> version of the state) for this profile."""
    await connection.execute(
        "INSERT INTO billing.settled AS known (profile, intervention, state_version)"
        " SELECT $1, intervention, version FROM unnest($2::uuid[], $3::bigint[]) AS given (intervention, version)"
        " ON CONFLICT (profile, intervention) DO UPDATE SET state_version = excluded.state_version",
        profile,
        list(versions.keys()),
        list(versions.values()),
    )


# --- batches ---


async def lock_profile(connection: Connection, profile: str) -> int:
    """The profile's last batch number, its row locked: one batch of a profile at a time."""
    await connection.execute("INSERT INTO billing.profile (profile) VALUES ($1) ON CONFLICT DO NOTHING", profile)
    return int(await connection.fetchval("SELECT batch FROM billing.profile WHERE profile = $1 FOR UPDATE", profile))


async def insert_batch(connection: Connection, row: BatchRow, files: Sequence[FileRow]) -> None:
    """The batch with its bytes, and its number taken."""
    await connection.execute("UPDATE billing.profile SET batch = $2 WHERE profile = $1", row.profile, row.batch)
    await connection.execute(
        "INSERT INTO billing.batch (profile, batch, frozen_at_ms, currency, interventions, lines, net_cents, vat_cents)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        row.profile,
        row.batch,
        row.frozen_at_ms,
        row.currency,
        row.interventions,
        row.lines,
        row.net_cents,
        row.vat_cents,
    )
    await connection.executemany(
        "INSERT INTO billing.batch_file (profile, batch, name, place, sha256, content) VALUES ($1, $2, $3, $4, $5, $6)",
        [(row.profile, row.batch, file.name, place, file.sha256, file.content) for place, file in enumerate(files)],
    )


async def insert_exports(connection: Connection, profile: str, batch: int, exports: Sequence[tuple[str, str, Bill]]) -> None:
    """What the batch bills: (intervention, event id, bill) each."""
    await connection.executemany(
        "INSERT INTO billing.export (profile, intervention, batch, kind, event_id, lines, rated, lines_sha256, terms)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        [
            (
                profile,
                intervention,
                batch,
                bill.kind,
                event_id,
                msgspec.to_builtins(bill.lines),
                msgspec.to_builtins(bill.rated),
                bill.lines_sha256,
                _terms_json(bill.terms),
            )
            for intervention, event_id, bill in exports
        ],
    )


async def find_batches(connection: Connection | Pool, *, limit: int, profile: str | None = None) -> list[BatchRow]:
    """The newest batches, of one profile or of all."""
    rows = await connection.fetch(
        f"SELECT {_BATCH} FROM billing.batch WHERE $1::text IS NULL OR profile = $1"  # noqa: S608
        " ORDER BY frozen_at_ms DESC, profile, batch DESC LIMIT $2",
        profile,
        limit,
    )
    return [BatchRow(*row) for row in rows]


async def find_batch(connection: Connection | Pool, profile: str, batch: int) -> BatchRow | None:
    row = await connection.fetchrow(
        f"SELECT {_BATCH} FROM billing.batch WHERE profile = $1 AND batch = $2",  # noqa: S608
        profile,
        batch,
    )
    return BatchRow(*row) if row else None


async def all_batches(connection: Connection | Pool, profile: str, *, after: int, limit: int) -> list[int]:
    """The next batch numbers of a profile."""
    rows = await connection.fetch(
        "SELECT batch FROM billing.batch WHERE profile = $1 AND batch > $2 ORDER BY batch LIMIT $3", profile, after, limit
    )
    return [row["batch"] for row in rows]


async def undelivered(connection: Connection | Pool, limit: int) -> list[tuple[str, int]]:
    """(profile, batch) of batches whose files are not known to lie in the folder: those without a known fault first."""
    rows = await connection.fetch(
        "SELECT profile, batch FROM billing.batch WHERE delivered_at_ms IS NULL"
        " ORDER BY fault IS NOT NULL, profile, batch LIMIT $1",
        limit,
    )
    return [(row["profile"], row["batch"]) for row in rows]


async def find_files(connection: Connection | Pool, profile: str, batch: int) -> list[FileRow]:
    """The files of a batch in the order of the profile's layouts; empty where there is no such batch."""
    rows = await connection.fetch(
        "SELECT name, sha256, content FROM billing.batch_file WHERE profile = $1 AND batch = $2 ORDER BY place",
        profile,
        batch,
    )
    return [FileRow(*row) for row in rows]


async def save_delivery(
    connection: Connection | Pool, profile: str, batch: int, delivered_at_ms: int | None, fault: str | None
) -> None:
    """What came of a delivery. The first success keeps its time; a fault stays until a delivery succeeds."""
    await connection.execute(
        "UPDATE billing.batch SET delivered_at_ms = CASE WHEN $3::bigint IS NULL THEN NULL"
        " ELSE coalesce(delivered_at_ms, $3) END, fault = $4 WHERE profile = $1 AND batch = $2",
        profile,
        batch,
        delivered_at_ms,
        fault,
    )


# --- the author ---


async def lock_author(connection: Connection, author: str) -> AuthorHead:
    """The author's last event, the row locked until the transaction ends."""
    await connection.execute(
        "INSERT INTO billing.author (author, head_hash) VALUES ($1, $2) ON CONFLICT DO NOTHING", author, GENESIS
    )
    row = await connection.fetchrow("SELECT seq, head_hash FROM billing.author WHERE author = $1 FOR UPDATE", author)
    assert row is not None
    return AuthorHead(row["seq"], row["head_hash"])


async def save_author(connection: Connection, author: str, head: AuthorHead) -> None:
    await connection.execute("UPDATE billing.author SET seq = $2, head_hash = $3 WHERE author = $1", author, head.seq, head.hash)


async def catch_up(connection: Connection, author: str, head: AuthorHead) -> bool:
    """After a loss: go on from what the ledger has of this author, where that is further. Whether it was.

    What was signed in between is in the ledger; signing those numbers again would be a fork.
    """
    if (await lock_author(connection, author)).seq >= head.seq:
        return False
    await save_author(connection, author, head)
    return True


async def load_knowledge(connection: Connection, author: str, streams: Sequence[str]) -> dict[str, dict[str, int]]:
    """What the author's events have claimed to know, by stream."""
    rows = await connection.fetch(
        "SELECT stream, vector FROM billing.knowledge WHERE author = $1 AND stream = ANY ($2)", author, list(streams)
    )
    return {row["stream"]: row["vector"] for row in rows}


async def save_knowledge(connection: Connection, author: str, known: Mapping[str, Mapping[str, int]]) -> None:
    await connection.executemany(
        "INSERT INTO billing.knowledge (author, stream, vector) VALUES ($1, $2, $3)"
        " ON CONFLICT (author, stream) DO UPDATE SET vector = excluded.vector",
        [(author, stream, dict(vector)) for stream, vector in known.items()],
    )


def _candidate(intervention: str, version: int, facts: Any, stored: Any, rated: Any | None, terms: Any | None) -> Candidate:
    billed = None
    if rated is not None and terms is not None:
        billed = Billed(tuple(msgspec.convert(rated, list[BilledLine])), _terms(terms))
    proofs = frozenset(msgspec.convert(stored, list[Proof]))
    return Candidate(intervention, version, msgspec.convert(facts, Facts), proofs, billed)


def _terms_json(terms: Terms) -> dict[str, Any]:
    contract = terms.contract.model_dump(mode="json") if terms.contract else None
    return {"price_list": terms.price_list.model_dump(mode="json"), "contract": contract}


def _terms(value: Mapping[str, Any]) -> Terms:
    contract = Contract.model_validate(value["contract"]) if value["contract"] else None
    return Terms(PriceListPublished.model_validate(value["price_list"]), contract)
