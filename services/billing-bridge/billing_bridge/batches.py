"""Numbered batches: collect what waits, freeze number, lines and the bytes of every file in one transaction.

The same transaction writes the signed `billing.exported.v1` events and the announcement to the outbox, so a crash leaves all
of it or nothing, and a number is never missing and never used twice. The date is read from the clock once. It delivers
nothing: delivery.py takes the frozen bytes from there.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from billing_bridge import announce, store
from billing_bridge.authoring import Export, IdSource, publish_exports
from billing_bridge.domain import Bill, Reference, Waits, decide
from billing_bridge.layouts import Record, write_file, write_lines
from billing_bridge.profiles import RECORD_HEADER, RECORD_LINE, RECORD_TRAILER, Profile
from billing_bridge.store import BatchRow, Candidate, FileRow
from zb_chassis import outbox
from zb_chassis.clock import Clock
from zb_chassis.database import Connection, Pool, transaction
from zb_contracts.events.office import BillingExported
from zb_contracts.keys import SigningKey
from zb_contracts.problems import BILLING_LAYOUT, BILLING_NOTHING, Problem
from zb_contracts.times import format_time_ms

INTERVENTIONS_MAX: Final = 500
LEFT_OUT_LISTED_MAX: Final = 1_000
"""More that wait are counted, not listed."""
PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A closed intervention that is not in the batch, and why."""

    intervention: str
    reference: str
    reason: str


@dataclass(frozen=True, slots=True)
class Frozen:
    """A batch as it was made, and what it left out."""

    row: BatchRow
    files: tuple[FileRow, ...]
    interventions: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    left_out_count: int


@dataclass
class Collected:
    """What a batch takes of the candidates, what it finds settled, and what it leaves out with the reason."""

    bills: list[tuple[Candidate, Bill]] = field(default_factory=list)
    settled: dict[str, int] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    left_out_count: int = 0
    misfit: Problem | None = None

    def leave_out(self, candidate: Candidate, reason: str) -> None:
        self.left_out_count += 1
        if len(self.left_out) < LEFT_OUT_LISTED_MAX:
            self.left_out.append(LeftOut(candidate.intervention, candidate.facts.reference, reason))

    def take(self, candidate: Candidate, reference: Reference, profile: Profile) -> None:
        """Decide about one candidate."""
        decision = decide(candidate.facts, candidate.stored, candidate.billed, reference, profile.rules)
        match decision:
            case Waits(reason):
                self.leave_out(candidate, reason)
            case Bill():
                try:
                    _check_fit(profile, candidate, decision)
                except Problem as problem:
                    # One value that does not fit must not keep all others from being billed.
                    self.misfit = self.misfit or problem
                    self.leave_out(candidate, str(problem))
                    return
                self.bills.append((candidate, decision))
            case _:
                self.settled[candidate.intervention] = candidate.state_version


class Batches:
    """Makes the batches of all profiles."""

    def __init__(self, pool: Pool, key: SigningKey, clock: Clock, new_id: IdSource) -> None:
        self._pool = pool
        self._key = key
        self._clock = clock
        self._new_id = new_id

    async def make(self, profile: Profile) -> Frozen:
        """The next batch of a profile. Problem BILLING_NOTHING when nothing can be billed, BILLING_LAYOUT when the
        only reason is that values do not fit their columns: no number is taken then."""
        async with transaction(self._pool) as connection:
            number = await store.lock_profile(connection, profile.name) + 1
            collected = await _collect(connection, profile)
            await store.settle(connection, profile.name, collected.settled)
            frozen = await self._freeze(connection, profile, number, collected) if collected.bills else None
        if frozen is None:
            raise collected.misfit or Problem(BILLING_NOTHING, profile=profile.name)
        return frozen

    async def waiting(self, profile: Profile) -> list[LeftOut]:
        """What the next batch would leave out, and why; with the reason `ready` what it would take."""
        collected = await _collect(self._pool, profile)
        ready = [LeftOut(one.intervention, one.facts.reference, "ready") for one, _ in collected.bills]
        return [*ready, *collected.left_out]

    async def _freeze(self, connection: Connection, profile: Profile, number: int, collected: Collected) -> Frozen:
        now_ms = self._clock()
        row = totals_of(profile, number, now_ms, collected.bills)
        files = files_of(profile, row, collected.bills)
        exports = [
            Export(self._new_id(now_ms), one.intervention, exported_body(profile, number, bill), one.facts.seen)
            for one, bill in collected.bills
        ]
        interventions = tuple(one.intervention for one, _ in collected.bills)
        await store.insert_batch(connection, row, files)
        rows = [(export.intervention, export.id, bill) for export, (_, bill) in zip(exports, collected.bills, strict=True)]
        await store.insert_exports(connection, profile.name, number, rows)
        await store.settle(connection, profile.name, {one.intervention: one.state_version for one, _ in collected.bills})
        await publish_exports(connection, self._key, exports, now_ms)
        await outbox.enqueue_all(connection, [announce.frozen(row, files, interventions)])
        return Frozen(row, files, interventions, tuple(collected.left_out), collected.left_out_count)


async def _collect(connection: Connection | Pool, profile: Profile) -> Collected:
    """Decide about every closed intervention that is not settled, until a batch is full."""
    reference = await store.load_reference(connection)
    collected = Collected()
    after: str | None = None
    while len(collected.bills) < INTERVENTIONS_MAX:
        page = await store.candidates(connection, profile.name, after=after, limit=PAGE)
        if not page:
            break
        for candidate in page[: INTERVENTIONS_MAX - len(collected.bills)]:
            collected.take(candidate, reference, profile)
        after = page[-1].intervention
    return collected


def _check_fit(profile: Profile, candidate: Candidate, bill: Bill) -> None:
    """Problem BILLING_LAYOUT, naming the intervention, where a line does not fit one of the layouts."""
    for layout in profile.layouts:
        try:
            write_lines(layout, list(_records(1, [(candidate, bill)])))
        except Problem as problem:
            named = f"{candidate.facts.reference}, {problem.details['field']}"
            raise Problem(BILLING_LAYOUT, field=named, reason=problem.details["reason"]) from problem


def exported_body(profile: Profile, number: int, bill: Bill) -> BillingExported:
    """What the ledger is told of one bill of the batch."""
    return BillingExported(profile=profile.name, batch=number, kind=bill.kind, lines_sha256=bill.lines_sha256)


def totals_of(profile: Profile, number: int, now_ms: int, bills: Sequence[tuple[Candidate, Bill]]) -> BatchRow:
    """The batch with its sums. Pure."""
    lines = [line for _, bill in bills for line in bill.lines]
    return BatchRow(
        profile.name,
        number,
        now_ms,
        profile.rules.currency,
        interventions=len(bills),
        lines=len(lines),
        net_cents=sum(line.net_cents for line in lines),
        vat_cents=sum(line.vat_cents for line in lines),
    )


def files_of(profile: Profile, row: BatchRow, bills: Sequence[tuple[Candidate, Bill]]) -> tuple[FileRow, ...]:
    """Every file of the batch: the same bills give the same bytes. Pure."""
    date = format_time_ms(row.frozen_at_ms)[:10]
    header: Record = {
        "record": RECORD_HEADER,
        "profile": row.profile,
        "batch": row.batch,
        "date": date,
        "currency": row.currency,
    }
    trailer: Record = {
        "record": RECORD_TRAILER,
        "batch": row.batch,
        "interventions": row.interventions,
        "lines": row.lines,
        "net": row.net_cents,
        "vat": row.vat_cents,
        "total": row.net_cents + row.vat_cents,
    }
    lines = list(_records(row.batch, bills))
    files = []
    for layout in profile.layouts:
        content = write_file(layout, header, lines, trailer)
        name = f"{file_stem(row.profile, row.batch)}{layout.suffix}"
        files.append(FileRow(name, hashlib.sha256(content).hexdigest(), content))
    return tuple(files)


def file_stem(profile: str, batch: int) -> str:
    """What the names of a batch's files begin with."""
    return f"{profile}-{batch:08d}"


def _records(batch: int, bills: Iterable[tuple[Candidate, Bill]]) -> Iterable[Record]:
    number = 0
    for candidate, bill in bills:
        for line in bill.lines:
            number += 1
            yield {
                "record": RECORD_LINE,
                "batch": batch,
                "number": number,
                "reference": candidate.facts.reference,
                "account": bill.account,
                "document": "A" if bill.kind == "adjustment" else "F",
                "kind": line.kind,
                "code": line.code,
                "label": line.label,
                "covered": "C" if line.covered else "",
                "quantity": line.quantity,
                "unit": line.unit,
                "unit_price": line.unit_price_cents,
                "net": line.net_cents,
                "vat_permille": line.vat_permille,
                "vat": line.vat_cents,
            }
