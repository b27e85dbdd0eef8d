"""billing-bridge as it runs: facts of merged states, decisions, frozen batches, signed exports; rows in memory.

What is billed, how a batch's bytes come to be and what is signed is the real code. A batch, its number, its events and its
announcement are one transaction.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from billing_bridge import announce
from billing_bridge.authoring import AUTHOR, Export, merged, messages_of, sign_export
from billing_bridge.batches import Collected, exported_body, files_of, totals_of
from billing_bridge.domain import Bill, Billed, Reference
from billing_bridge.facts import Facts, Proof, facts_of
from billing_bridge.profiles import PROFILES
from billing_bridge.store import AuthorHead, BatchRow, Candidate, FileRow
from tests.simulation.broker import Broker, Delivered
from tests.simulation.hearing import Hearing
from tests.simulation.keys import key_of
from tests.simulation.memory_outbox import MemoryOutbox
from tests.simulation.office import PRICES
from tests.simulation.relaying import Relays
from tests.simulation.undo import Undo
from tests.simulation.world import Killed, World
from zb_contracts.announcements import EvidenceAnnounced, InterventionAnnounced, Price, PriceListPublished
from zb_contracts.envelope import GENESIS, SignedEvent, digest
from zb_contracts.merge.state import InterventionState

PROFILE: Final = PROFILES["erp"]
PARTS: Final = ("VALVE-15", "SEAL-3")
_PRICE_LIST: Final = PriceListPublished(
    price_list=PRICES,
    version=1,
    currency="EUR",
    valid_from="2020-01-01T00:00:00.000Z",
    prices=(
        *(Price(code=code, label=code, unit="u", unit_price_cents=1234, vat_permille=200) for code in PARTS),
        Price(code="HOUR", label="Labour", unit="h", unit_price_cents=6000, vat_permille=200),
    ),
    call_out_cents=4500,
)


@dataclass(frozen=True, slots=True)
class Known:
    """What the bridge heard of an intervention."""

    state_version: int = 0
    facts: Facts | None = None
    evidence_version: int = 0
    stored: frozenset[Proof] = frozenset()


@dataclass(frozen=True, slots=True)
class Exported:
    """One intervention in one batch."""

    intervention: str
    batch: int
    bill: Bill


class Bridge:
    """The bridge, with one profile."""

    def __init__(self, world: World, broker: Broker) -> None:
        self.world = world
        self.outbox = MemoryOutbox(world.clock)
        self.relays = Relays(world, broker, self.outbox, "billing-bridge")
        self.known: dict[str, Known] = {}
        self.settled: dict[str, int] = {}
        self.exports: list[Exported] = []
        self.batches: dict[int, tuple[BatchRow, tuple[FileRow, ...]]] = {}
        self._head: dict[str, AuthorHead] = {AUTHOR: AuthorHead(0, GENESIS)}
        self._knowledge: dict[str, dict[str, int]] = {}
        self.hearing = Hearing(world, broker, "INTERVENTIONS", self.outbox, "billing-bridge", self._take_state)
        self.hearing_evidence = Hearing(world, broker, "EVIDENCE", self.outbox, "billing-bridge", self._take_evidence)

    def make_batch(self) -> None:
        """Freeze what can be billed now."""
        try:
            with self.outbox.undo.transaction():
                self._freeze(self.outbox.undo)
                self._gate()
        except Killed:
            self.world.note("killed", "billing-bridge")
        self.relays.wake()

    def _freeze(self, undo: Undo) -> None:
        collected = Collected()
        reference = Reference({PRICES: [_PRICE_LIST]}, {})
        for candidate in self._candidates():
            collected.take(candidate, reference, PROFILE)
        for intervention, version in collected.settled.items():
            undo.put(self.settled, intervention, version)
        if not collected.bills:
            return
        number = len(self.batches) + 1
        row = totals_of(PROFILE, number, self.world.now_ms, collected.bills)
        files = files_of(PROFILE, row, collected.bills)
        undo.put(self.batches, number, (row, files))
        signed: list[SignedEvent] = []
        for candidate, bill in collected.bills:
            self._gate()
            undo.append(self.exports, Exported(candidate.intervention, number, bill))
            undo.put(self.settled, candidate.intervention, candidate.state_version)
            body = exported_body(PROFILE, number, bill)
            export = Export(self.world.uuid7(self.world.now_ms), candidate.intervention, body, candidate.facts.seen)
            signed.append(self._sign(undo, export))
        self.outbox.enqueue(undo, messages_of(signed))
        interventions = tuple(candidate.intervention for candidate, _ in collected.bills)
        self.outbox.enqueue(undo, [announce.frozen(row, files, interventions)])
        self.world.note("batch", number, interventions, [one.sha256 for one in files])

    def _sign(self, undo: Undo, export: Export) -> SignedEvent:
        seen = merged(self._knowledge.get(export.stream, {}), export.seen)
        event = sign_export(key_of(AUTHOR), export, self._head[AUTHOR], seen, self.world.now_ms)
        undo.put(self._knowledge, export.stream, seen)
        undo.put(self._head, AUTHOR, AuthorHead(self._head[AUTHOR].seq + 1, digest(event.header)))
        return event

    def _candidates(self) -> list[Candidate]:
        found = []
        for intervention, known in sorted(self.known.items()):
            if known.facts is None or not known.facts.closed or known.state_version <= self.settled.get(intervention, 0):
                continue
            found.append(Candidate(intervention, known.state_version, known.facts, known.stored, self.billed(intervention)))
        return found

    def billed(self, intervention: str) -> Billed | None:
        """What the exports of an intervention add up to."""
        mine = [one.bill for one in self.exports if one.intervention == intervention]
        return Billed(mine[-1].rated, mine[-1].terms) if mine else None

    def _take_state(self, undo: Undo, message: Delivered) -> None:
        announced = InterventionAnnounced.model_validate_json(message.data)
        known = self.known.get(announced.intervention, Known())
        if announced.version > known.state_version:
            facts = facts_of(msgspec.convert(announced.state, InterventionState))
            newer = Known(announced.version, facts, known.evidence_version, known.stored)
            undo.put(self.known, announced.intervention, newer)

    def _take_evidence(self, undo: Undo, message: Delivered) -> None:
        announced = EvidenceAnnounced.model_validate_json(message.data)
        known = self.known.get(announced.intervention, Known())
        if announced.version > known.evidence_version:
            stored = frozenset(Proof(item.line, item.sha256) for item in announced.items if item.stored)
            newer = Known(known.state_version, known.facts, announced.version, stored)
            undo.put(self.known, announced.intervention, newer)

    def _gate(self) -> None:
        if self.world.faults.bites("service killed at a write"):
            raise Killed
