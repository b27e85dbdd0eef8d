"""The safeguards, each with the patch that switches it off: the simulation must notice every one of them.

A safeguard that can be taken out unnoticed is either not needed or not tested. Patches are made at run time and taken back.
Most are in the real code; those of a store are marked: there the memory stands for the database. Which seed notices which is
kept in mutations.json: `python -m tests.simulation.search` looks for them.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from billing_bridge import domain as billing
from field_ingest.admission import admitting, domain, verification
from field_ingest.admission.domain import Appended, Chain, Duplicate, Event
from field_ingest.projection.folding import Folds
from scheduling.board import read_announcement
from tests.simulation import hearing, memory_ledger, memory_views, office
from zb_chassis.consuming import Outcome
from zb_chassis.relay import Lease, Relay
from zb_contracts.merge import causality
from zb_contracts.merge.causality import MergeEvent
from zb_contracts.merge.records import Record
from zb_contracts.sync import read_answer
from zb_device import asking, recording, syncing, trust
from zb_device.log import Log

Patch = tuple[Any, str, Any]


@dataclass(frozen=True, slots=True)
class Mutation:
    """One safeguard: what it promises, and (owner, attribute, what stands there instead) to switch it off."""

    promise: str
    patches: tuple[Patch, ...]
    in_store: bool = False

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        with ExitStack() as stack:
            for owner, name, value in self.patches:
                # From its dictionary: what stands there, and not what attribute access would make of it.
                stack.callback(setattr, owner, name, owner.__dict__[name])
                setattr(owner, name, value)
            yield


def _never(*_: Any, **__: Any) -> None:
    return None


async def _none(*_: Any, **__: Any) -> list[int]:
    return []


# --- Admission ---

_decided: Final = Chain._decided
_admitted: Final = Chain._admitted


def _any_number(chain: Chain, event: Event) -> Any:
    if event.seq > chain._mark + 1:
        chain._mark, chain._head_hash = event.seq - 1, event.prev
    return _decided(chain, event)


def _any_link(chain: Chain, event: Event) -> Any:
    if event.seq == chain._mark + 1:
        chain._head_hash = event.prev
    return _decided(chain, event)


def _no_forks(chain: Chain, event: Event) -> Any:
    return Duplicate(event) if event.seq <= chain._mark else _decided(chain, event)


def _always_admitted(chain: Chain, event: Event, header: Any) -> Appended:
    return replace(_admitted(chain, event, header), kind="admitted")


# --- Stores ---

_take: Final = memory_views.MemoryProjectionTransaction.take


def _not_unique(self: Any, index: Any, key: Any, row: Any) -> None:
    self._undo.put(index, key, row)


async def _marks_first(self: Any, partitions: Any) -> Any:
    taken = await _take(self, partitions)
    for partition, marks in taken.marks.items():
        for shard in marks:
            self._views.marks[partition, shard] = taken.sizes[shard]
    return taken


def _any_announcement(self: Any, undo: Any, message: Any) -> None:
    announced = read_announcement(message.data)
    undo.put(self.announced, announced.intervention, announced)


# --- Services ---

_send: Final = Relay._send
_bill: Final = billing._bill
_taken: Final = Record.take


async def _whatever_the_lease(self: Relay, row: Any, lease: Lease) -> bool:
    return await _send(self, row, Lease(lease.fence, float("inf")))


async def _ended_first(message: Any, handle: Any, letters: Any, tries: Any = None) -> Outcome:
    await message.ack()
    await handle(message)
    return Outcome.DONE


def _always_new(self: Record, event: MergeEvent) -> bool:
    _taken(self, event)
    return True


# --- Devices ---

_settle: Final = Log.settle


def _dropped_when_received(self: Any, trusted_ms: int) -> int:
    self._db.execute("update log set for_escrow = null, for_reader = null where state = 'received'")
    return 0


def _settled_by_number(self: Any, receipt: Any, settled_ms: int) -> bool:
    row = self._db.execute("select id, header_sha256 from log where seq = ?", (receipt.seq,)).fetchone()
    return bool(row) and _settle(self, msgspec.structs.replace(receipt, id=row[0], header_sha256=row[1]), settled_ms)


def _whoever_answers(document: Any, keys: Any, *, nonce: str, pinned: Any) -> Any:
    return read_answer(document.payload)


def _no_transaction(connection: Any) -> Any:
    return nullcontext(connection)


MUTATIONS: Final[dict[str, Mutation]] = {
    "mark check": Mutation(
        "numbers have no gap", ((Chain, "_decided", _any_number), (admitting, "_ahead", lambda offers, authors: {}))
    ),
    "link check": Mutation("each event hangs on the one before it", ((Chain, "_decided", _any_link),)),
    "fork check": Mutation("another past is refused, and kept as a refusal", ((Chain, "_decided", _no_forks),)),
    "signature check": Mutation("only the author's key signs", ((verification, "_check_signature", _never),)),
    "body digest": Mutation("the body is the signed one", ((verification, "_check_digest", _never),)),
    "sender check": Mutation("a device writes on its own subject", ((admitting, "_wrong_sender", _never),)),
    "closure check": Mutation("vectors are causally closed", ((Chain, "_open", _never),)),
    "shrink check": Mutation("an author never unlearns", ((Chain, "_shrunk", _never),)),
    "seen_ahead": Mutation("nobody knows what the ledger lacks", ((Chain, "_wrong_claim", _never),)),
    "event id taken": Mutation("a taken id is refused by name", ((Chain, "_taken_id", _never),)),
    "author kind": Mutation("a type is for its writers", ((Chain, "_wrong_type", _never),)),
    "actor's session": Mutation("nobody acts in another's name", ((Chain, "_is_stranger", _never),)),
    "canonical body": Mutation("bodies are canonical", ((domain, "_wrong_body", _never),)),
    "held on revocation": Mutation("a revoked author's events wait", ((Chain, "_admitted", _always_admitted),)),
    "gap asked for": Mutation("what is missing is asked for", ((Chain, "ask_again", _never),)),
    "a fork's tail": Mutation("what hangs on a fork has its place beside the chain", ((admitting.Admission, "_beside", _none),)),
    "unique event id": Mutation(
        "two rows never share an id",
        ((Chain, "_taken_id", _never), (memory_ledger.MemoryTransaction, "_unique", _not_unique)),
        in_store=True,
    ),
    "marks in the same transaction": Mutation(
        "no row is skipped", ((memory_views.MemoryProjectionTransaction, "take", _marks_first),), in_store=True
    ),
    "fold again what was let in": Mutation("a lifted event counts", ((Folds, "forget", _never),)),
    "an event counts once": Mutation("duplicates change nothing", ((Record, "take", _always_new),)),
    "tie-break": Mutation("equals have one order", ((causality, "rank_of", lambda header: (0, "", 0)),)),
    "newer announcements only": Mutation(
        "a reader never goes back", ((office.Office, "_take", _any_announcement),), in_store=True
    ),
    "acknowledge last": Mutation("a message is handled before it is ended", ((hearing, "handle_bounded", _ended_first),)),
    "outbox fence": Mutation(
        "one relay publishes", ((Relay, "_send", _whatever_the_lease), (Relay, "_renewal_due", lambda self, lease: False))
    ),
    "billed once": Mutation(
        "one invoice, then adjustments",
        ((billing, "_bill", lambda rated, billed, terms, rules: _bill(rated, None, terms, rules)),),
    ),
    "answer's signature": Mutation("an answer is the ledger's", ((asking, "open_answer", _whoever_answers),)),
    "receipt proof": Mutation("a receipt is a row of the log", ((syncing, "check_receipt", _never),)),
    "consistency proof": Mutation("a log only grows", ((trust, "verify_consistency", _never),)),
    "receipt's header": Mutation("a receipt is for this very event", ((Log, "settle", _settled_by_number),)),
    "sent again": Mutation("what was never answered is sent again", ((Log, "is_unanswered", lambda log: False),)),
    "receipt before delete": Mutation("bytes stay until a receipt", ((Log, "prune", _dropped_when_received),)),
    "recording is one transaction": Mutation("event and head together", ((recording, "transaction", _no_transaction),)),
}
