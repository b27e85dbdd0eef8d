"""What must hold of the ledger and of what was made of it, whatever happened: ARCHITECTURE's invariants as checks.

`watch` looks after every message that admission acknowledged and after every sync; `check` looks once all has come to rest. What
concerns devices is in `promises`. Each fault is a Broken that names the invariant.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Final

import msgspec

from field_ingest.admission.domain import Author
from field_ingest.admission.stored_subjects import as_published
from field_ingest.ledger.appending import Row
from tests.simulation.broker import Delivered
from tests.simulation.company import Company
from tests.simulation.hearing import FORWARD
from tests.simulation.keys import ESCROW
from tests.simulation.world import Broken
from zb_contracts import canonical, ledger_leaf, merkle, subjects
from zb_contracts.announcements import InterventionAnnounced
from zb_contracts.envelope import PAYLOAD_TYPE, Header, digest, parse_header
from zb_contracts.events import EVENT_TYPES, AuthorKind, read_body
from zb_contracts.events.office import EventAdmitted
from zb_contracts.fields import REGISTERS_OF, unversioned
from zb_contracts.keys import dsse_pae, verify
from zb_contracts.merge.causality import MergeEvent
from zb_contracts.merge.fold import fold
from zb_contracts.merge.headers import merge_header
from zb_contracts.merge.state import state_bytes
from zb_contracts.problems import Problem
from zb_contracts.segment import decode_segment

SOUND: Final = "the ledger is what its authors signed"
ITSELF: Final = "a device writes only as itself"
DECIDED: Final = "what is acknowledged is decided"
ASKED: Final = "what is missing is asked for"
CLOSED: Final = "vectors are closed, never shrink, and name what the ledger has"
HELD: Final = "what a revoked author sends is held"
PURE: Final = "the state is a function of the set of admitted events"
TRACE: Final = "nothing is overwritten without a trace"
POISON: Final = "a poison message delays nobody and disappears nowhere"
BILLED: Final = "a closed intervention is billed once a profile"


class _Place(msgspec.Struct, frozen=True):
    author: str
    seq: int


class _Placeable(_Place, frozen=True):
    """What a header shows at least that can be put in its place. Less than that comes again after an hour, unasked."""

    prev: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    body_sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Watch:
    """Looks at each acknowledged message and at each row once, as soon as it is there."""

    def __init__(self, company: Company) -> None:
        self._company, self._ledger = company, company.ingest.ledger
        self._seen = dict.fromkeys(self._ledger.shards, 0)
        self._vectors: dict[tuple[str, str], dict[str, int]] = {}
        company.ingest.settled = self.settled

    def settled(self, message: Delivered) -> None:
        """A message that admission is done with, or has put off."""
        if message.acked:
            self._acknowledged(message)
        elif message.ended:
            self._given_up(message)

    def _given_up(self, message: Delivered) -> None:
        """What is missing before it is asked for."""
        try:
            place = msgspec.json.decode(decode_segment(message.data, ESCROW.private)[0].header, type=_Placeable)
        except (Problem, msgspec.DecodeError, UnicodeDecodeError):
            return
        author = self._ledger.authors.get(place.author)
        is_own = author is not None and author.device and as_published(message.subject) == subjects.field(author.device)
        if author is not None and is_own and place.seq > author.mark + 1 and author.gap_nonce is None:
            raise Broken(ASKED, f"{author.author} waits at {author.mark + 1}, and nobody asks for it")

    def _acknowledged(self, message: Delivered) -> None:
        """Every event in it has its row, and came from whom it says."""
        for number, shard in self._ledger.shards.items():
            for row in shard.rows[self._seen[number] :]:
                self._row(row)
            self._seen[number] = len(shard.rows)
        try:
            events = decode_segment(message.data, ESCROW.private)
        except Problem as fault:
            raise Broken(POISON, f"{message.subject} was acknowledged although {fault}") from fault
        for event in events:
            place = msgspec.json.decode(event.header, type=_Place)
            author = self._ledger.authors[place.author]
            own = subjects.field(author.device) if author.device else subjects.office(place.author)
            if as_published(message.subject) != own:
                raise Broken(ITSELF, f"events of {place.author} were taken on {message.subject}")
            header_hash = hashlib.sha256(event.header).digest()
            if (place.author, place.seq, header_hash) in self._ledger.strays:
                return  # what hangs on it hangs in the air
            chained = self._ledger.chain.get((place.author, place.seq))
            if chained is None or chained.header_hash != header_hash:
                raise Broken(DECIDED, f"event {place.seq} of {place.author} has no row")

    def _row(self, row: Row) -> None:
        if row.kind == "refusal":
            return
        header = parse_header(row.header)
        author = self._ledger.authors[row.author]
        self._claims(row, header, author)
        if row.kind == "admitted" and author.revoked_at_ms is not None and row.received_at_ms > author.revoked_at_ms:
            raise Broken(HELD, f"event {row.seq} of {row.author} was admitted")
        for other, seq in header.seen.items():
            if other != row.author and (other not in self._ledger.authors or self._ledger.authors[other].mark < seq):
                raise Broken(CLOSED, f"event {row.seq} of {row.author} names {seq} of {other}")
        before = self._vectors.get((row.stream, row.author), {})
        if any(header.seen.get(other, 0) < seq for other, seq in before.items()):
            raise Broken(CLOSED, f"event {row.seq} of {row.author} knows less than an earlier one")
        self._vectors[row.stream, row.author] = header.seen

    def _claims(self, row: Row, header: Header, author: Author) -> None:
        """Whoever wrote it was one who may, in their own name, in bytes that mean one thing."""
        kind = EVENT_TYPES.get(row.type)
        if kind is not None and author.kind not in kind.writers:
            raise Broken(ITSELF, f"{row.author} wrote {row.type}")
        people = {author.technician, *self._ledger.people[row.author]}
        if row.kind == "admitted" and author.device and header.actor not in people:
            raise Broken(ITSELF, f"event {row.seq} of {row.author} was admitted in the name of {header.actor}")
        if canonical.encode(msgspec.json.decode(row.body)) != row.body:
            raise Broken(SOUND, f"the body of event {row.seq} of {row.author} has more than one spelling")


def check(company: Company) -> None:
    """All of this module, once all has come to rest."""
    _ledger_is_sound(company)
    _vectors_are_closed(company)
    _held_is_a_suffix(company)
    _states_are_pure(company)
    _announcements_go_forward(company)
    _nothing_is_buried(company)
    _billed_once(company)


def _ledger_is_sound(company: Company) -> None:
    ledger = company.ingest.ledger
    ids = Counter(row.event_id for row in ledger.rows() if row.kind != "refusal")
    if ids and max(ids.values()) > 1:
        raise Broken(SOUND, f"two rows have the id {ids.most_common(1)[0][0]}")
    for number, shard in ledger.shards.items():
        if [row.position for row in shard.rows] != list(range(len(shard.rows))):
            raise Broken(SOUND, f"the positions of shard {number} are not dense")
        leaves = [ledger_leaf.leaf_hash(_leaf(row)) for row in shard.rows]
        if merkle.root_of(leaves) != shard.frontier.root() or leaves != [row.leaf_hash for row in shard.rows]:
            raise Broken(SOUND, f"the tree of shard {number} is not that of its rows")
    for author in ledger.authors.values():
        rows = [row for row in ledger.rows() if row.author == author.author]
        for row in rows:
            if not verify(author.event_key, dsse_pae(PAYLOAD_TYPE, row.header), row.signature):
                raise Broken(SOUND, f"row {row.position} is not signed by {author.author}")
            body_sha256 = msgspec.json.decode(row.header)["body_sha256"]
            if digest(row.body) != body_sha256 or hashlib.sha256(row.header).digest() != row.header_hash:
                raise Broken(SOUND, f"row {row.position} has another body or hash than was signed")
        _chain_is_whole([row for row in rows if row.chained], author.mark)


def _chain_is_whole(rows: Sequence[Row], mark: int) -> None:
    ordered = sorted(rows, key=lambda row: row.seq)
    if [row.seq for row in ordered] != list(range(1, mark + 1)):
        raise Broken(SOUND, f"a chain has the numbers {[row.seq for row in ordered]}, its mark is {mark}")
    prev = bytes(32)
    for row in ordered:
        if bytes.fromhex(msgspec.json.decode(row.header)["prev"]) != prev:
            raise Broken(SOUND, f"event {row.seq} of {row.author} hangs on another than the one before it")
        prev = row.header_hash


def _vectors_are_closed(company: Company) -> None:
    """Each vector covers what the newest event that it names of each author had seen."""
    on_stream = company.ingest.ledger.on_stream
    streams: dict[str, dict[str, list[Header]]] = {}
    for (stream, author), rows in on_stream.items():
        streams.setdefault(stream, {})[author] = [parse_header(row.header) for row in rows]
    for stream, authors in streams.items():
        for header in (header for headers in authors.values() for header in headers):
            for other, seq in header.seen.items():
                known = [one for one in authors.get(other, ()) if one.seq <= seq]
                needed = known[-1].seen if known else {}
                missing = [third for third, upto in needed.items() if third != header.author and header.seen.get(third, 0) < upto]
                if missing:
                    raise Broken(CLOSED, f"event {header.seq} of {header.author} on {stream} knows {other}, not {missing}")


def _held_is_a_suffix(company: Company) -> None:
    for author in company.ingest.ledger.authors.values():
        rows = [row for row in company.ingest.ledger.rows() if row.author == author.author and row.chained]
        kinds = [row.kind for row in rows if b'"key":"revoked"' in row.facts or row.kind == "admitted"]
        if "held" in kinds and "admitted" in kinds[kinds.index("held") :]:
            raise Broken(HELD, f"{author.author} was admitted again after it was revoked")


def _states_are_pure(company: Company) -> None:
    """Each state is the fold of its events in any order, with some of them twice."""
    views, dice = company.ingest.views, random.Random(company.world.seed)  # noqa: S311
    if views.quarantine:
        raise Broken(PURE, f"not folded: {views.quarantine}")
    groups = _admitted(company)
    if groups.keys() != views.states.keys():
        raise Broken(PURE, f"states of {sorted(groups.keys() ^ views.states.keys())} lack or are too many")
    for stream, events in groups.items():
        arrival = [*events, *dice.sample(events, len(events) // 3)]
        dice.shuffle(arrival)
        state_json = state_bytes(fold(stream, arrival))
        if state_json != views.states[stream].state:
            raise Broken(PURE, f"{stream} is another state in another order of arrival")
        _every_write_has_a_trace(stream, events, state_json.decode())


def _every_write_has_a_trace(stream: str, events: Sequence[MergeEvent], state_json: str) -> None:
    """A write of a register stands, is set aside with its rule, or somebody who knew it wrote again."""
    known: dict[str, int] = {}
    for event in events:
        for author, seq in [*event.header.seen.items(), (event.header.author, event.header.seq - 1)]:
            known[author] = max(known.get(author, 0), seq)
    for event in events:
        header = event.header
        is_write = unversioned(header.type) in REGISTERS_OF and header.seq > known.get(header.author, 0)
        if is_write and header.id not in state_json:
            raise Broken(TRACE, f"nothing in {stream} tells of {header.type} {header.id}")


def _admitted(company: Company) -> dict[str, list[MergeEvent]]:
    """Stream -> what counts on it: admitted rows, and held ones that an admission of the same stream names."""
    rows = company.ingest.ledger.rows()
    let_in = {key for row in rows for key in _let_in(row)}
    groups: dict[str, list[MergeEvent]] = {}
    for row in rows:
        named = (row.event_id, row.author, row.seq, row.stream) in let_in
        if row.kind == "admitted" or (row.kind == "held" and named):
            kind = AuthorKind(company.ingest.ledger.authors[row.author].kind)
            event = MergeEvent(merge_header(row.header), read_body(row.type, row.body), kind)
            groups.setdefault(row.stream, []).append(event)
    return groups


def _let_in(row: Row) -> Iterable[tuple[str, str, int, str]]:
    body = read_body(row.type, row.body) if row.kind == "admitted" and row.type == "event.admitted.v1" else None
    return [(body.event, body.author, body.author_seq, row.stream)] if isinstance(body, EventAdmitted) else []


def _announcements_go_forward(company: Company) -> None:
    """In the outbox versions and positions of each intervention only grow, and every reader ends with the newest."""
    newest: dict[str, InterventionAnnounced] = {}
    for waiting in company.ingest.outbox.messages:
        told = InterventionAnnounced.model_validate_json(waiting.message.payload)
        before = newest.get(told.intervention)
        if before and (told.version != before.version + 1 or any(told.positions[at] < n for at, n in before.positions.items())):
            raise Broken(FORWARD, f"version {told.version} of {told.intervention} after {before.version}")
        newest[told.intervention] = told
    for intervention, told in newest.items():
        office, media, bridge = (
            company.office.announced.get(intervention),
            company.media.rows.get(intervention),
            company.bridge.known.get(intervention),
        )
        versions = (office and office.version, media and media.state_version, bridge and bridge.state_version)
        if set(versions) != {told.version}:
            raise Broken(FORWARD, f"{intervention} is at {told.version}, its readers at {versions}")
        state = company.ingest.views.states[f"intervention:{intervention}"]
        if told.state_hash != state.state_hash.hex() or office is None or dict(office.reported.vector) != told.state["vector"]:
            raise Broken(FORWARD, f"what was told last of {intervention} is not its state")


def _nothing_is_buried(company: Company) -> None:
    letters = list(company.broker.published("DEADLETTER"))
    if letters:
        raise Broken(POISON, f"buried: {letters[0].headers}")


def _billed_once(company: Company) -> None:
    """One invoice, then adjustments; together they are the newest rating; frozen bytes have the announced hashes."""
    bridge = company.bridge
    for intervention in {one.intervention for one in bridge.exports}:
        bills = [one.bill for one in bridge.exports if one.intervention == intervention]
        if [bill.kind for bill in bills] != ["invoice", *["adjustment"] * (len(bills) - 1)]:
            raise Broken(BILLED, f"{intervention}: {[bill.kind for bill in bills]}")
        total = sum(line.net_cents for bill in bills for line in bill.lines)
        if total != sum(line.net_cents for line in bills[-1].rated):
            raise Broken(BILLED, f"{intervention} was billed {total} cents in all, its newest rating is another")
    if sorted(bridge.batches) != list(range(1, len(bridge.batches) + 1)):
        raise Broken(BILLED, f"batches are numbered {sorted(bridge.batches)}")
    exported = [row for row in company.ingest.ledger.rows() if row.author == "billing-bridge"]
    if len(exported) != len(bridge.exports):
        raise Broken(BILLED, f"the ledger has {len(exported)} exports, the bridge made {len(bridge.exports)}")


def _leaf(row: Row) -> bytes:
    return ledger_leaf.leaf_bytes(
        kind=row.kind,
        header_hash=row.header_hash,
        signature=row.signature,
        received_at_ms=row.received_at_ms,
        facts=row.facts,
    )
