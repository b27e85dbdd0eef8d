"""The decision of admission, one sentence a rule. Pure: no ledger, no clock."""

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest

from field_ingest.admission.domain import (
    STRAY_REFUSALS_MAX,
    Appended,
    Author,
    Chain,
    Dropped,
    Duplicate,
    Event,
    Known,
    Waiting,
)
from field_ingest.admission.verification import Segment, read_event, read_offer, read_segment
from zb_contracts import canonical
from zb_contracts.envelope import BODY_TYPE, GENESIS, Anchor, Header, SignedEvent, digest, sign_event
from zb_contracts.events import AuthorKind
from zb_contracts.keys import SigningKey, WrapKey
from zb_contracts.problems import Problem
from zb_contracts.segment import encode_sealed_segment, encode_segment, seal_event
from zb_contracts.times import format_time_ms, parse_time_ms

TEN_MS = parse_time_ms("2026-11-23T10:00:00.000Z")
HOUR_MS = 3_600_000
ESCROW = WrapKey(bytes(range(32)))
KEY = SigningKey.from_seed(b"the key of the leaky boiler's...")
LEAKY_BOILER = "intervention:0192f000-0000-7000-8000-000000000042"
COMMENT = "intervention.comment_added.v1"
PLANNED = Known(marks={"office-main": 5}, knowledge={(LEAKY_BOILER, "office-main", 5): {}})
"""The office has planned the boiler with its event 5."""


class Story:
    """An author's chain being decided: `writes` makes its next event, `take` lets the ledger decide it."""

    def __init__(self, kind: AuthorKind = AuthorKind.DEVICE, known: Known | None = None, **author: Any) -> None:
        self.number = 0
        self.prev = GENESIS
        row = Author("leaky-i1", kind, "main", "leaky", "camille", KEY.public, 0, 0, bytes(32))
        values = {name: getattr(row, name) for name in Author.__slots__} | author
        self.chain = Chain(Author(**values), known or Known(), received_at_ms=TEN_MS)

    def writes(
        self,
        kind: str = COMMENT,
        body: bytes = b'{"text":"It leaks."}',
        seen: Mapping[str, int] | None = None,
        *,
        at_ms: int = TEN_MS,
        **header: Any,
    ) -> Event:
        self.number += 1
        values = {
            "id": f"019ac000-0000-7000-8000-{self.number:012x}",
            "author": "leaky-i1",
            "seq": self.number,
            "prev": self.prev,
            "type": kind,
            "stream": LEAKY_BOILER,
            "visit": None,
            "actor": "camille",
            "token": None,
            "at": format_time_ms(at_ms),
            "boot": "boot-1",
            "elapsed_ms": 0,
            "anchor": Anchor("anchor-1", format_time_ms(at_ms)),
            "seen": dict(seen or {}),
            "body_sha256": digest(body),
            "body_type": BODY_TYPE,
        }
        event = read_event(sign_event(KEY, Header(**values | header), body))
        self.prev = event.header_hash.hex()
        return event

    def take(self, *events: Event) -> list[str]:
        """What became of each event, in one word."""
        return [word(self.chain.take(event)) for event in events]


def word(outcome: Any) -> str:
    match outcome:
        case Appended(problem=Problem() as problem):
            return problem.code
        case Appended(kind=kind):
            return kind
        case Duplicate():
            return "duplicate"
        case Waiting(problem=problem):
            return f"waits: {problem.code}"
        case Dropped(problem=problem):
            return f"dropped: {problem.code}"
    raise AssertionError(outcome)


def read(data: bytes) -> Segment:
    """What the author's key signed of a message."""
    return read_segment(KEY.public, read_offer(data, ESCROW), ESCROW)


def facts(outcome: Any) -> dict[str, Any]:
    assert isinstance(outcome, Appended)
    return canonical.decode(outcome.facts)


def test_consecutive_events_are_admitted_and_move_the_mark() -> None:
    story = Story()
    assert story.take(story.writes(), story.writes()) == ["admitted", "admitted"]
    assert story.chain.author.mark == 2


def test_an_event_taken_before_is_a_duplicate() -> None:
    story = Story()
    event = story.writes()
    assert story.take(event, event) == ["admitted", "duplicate"]


def test_another_event_under_a_taken_number_is_a_fork_and_moves_no_mark() -> None:
    story, twin = Story(), Story()
    story.take(story.writes())
    forked = twin.writes(body=b'{"text":"It never leaked."}')
    outcome = story.chain.take(forked)
    assert word(outcome) == "event.fork"
    assert story.chain.author.mark == 1
    assert story.take(forked) == ["duplicate"]


def test_what_descends_from_a_fork_is_kept_beside_the_chain_however_far_it_goes() -> None:
    story, twin = Story(), Story()
    story.take(story.writes())
    forks = [twin.writes(body=b'{"text":"It never leaked, %d."}' % number) for number in range(4)]
    assert story.take(*forks) == ["event.fork", "event.link_broken", "event.link_broken", "event.link_broken"]
    assert (story.chain.author.mark, story.chain.author.stray_refusals) == (1, 4)
    later = Story(known=Known(strays=frozenset({(3, forks[2].header_hash)})))
    assert later.take(forks[3]) == ["event.link_broken"]


def test_an_event_ahead_of_the_mark_waits() -> None:
    story = Story()
    _, second = story.writes(), story.writes()
    assert story.take(second) == ["waits: segment.ahead"]
    assert story.chain.author.stopped_code is None


def test_an_event_that_does_not_name_the_header_before_it_is_refused_beside_the_chain() -> None:
    story = Story()
    story.take(story.writes())
    story.prev = hashlib.sha256(b"another past").hexdigest()
    outcome = story.chain.take(story.writes())
    assert word(outcome) == "event.link_broken"
    assert (story.chain.author.mark, story.chain.author.stray_refusals) == (1, 1)


def test_an_author_with_too_many_rows_beside_its_chain_gets_no_more() -> None:
    story = Story(stray_refusals=STRAY_REFUSALS_MAX)
    story.prev = hashlib.sha256(b"another past").hexdigest()
    assert story.take(story.writes()) == ["dropped: event.link_broken"]


def test_a_device_may_not_write_what_the_office_writes_and_its_next_event_goes_on() -> None:
    story = Story()
    cancel = story.writes("intervention.cancelled.v1", b'{"reason":"too far"}')
    assert story.take(cancel, story.writes()) == ["event.type_not_allowed", "admitted"]
    assert story.chain.author.mark == 2


def test_the_office_may_cancel() -> None:
    story = Story(AuthorKind.OFFICE)
    assert story.take(story.writes("intervention.cancelled.v1", b'{"reason":"customer called"}')) == ["admitted"]


def test_a_vector_beyond_the_ledger_stops_the_chain_for_now() -> None:
    story = Story(known=Known(marks={"office-main": 4}))
    assert story.take(story.writes(seen={"office-main": 5})) == ["waits: event.seen_ahead"]
    assert (story.chain.author.mark, story.chain.author.stopped_seq) == (0, 1)


def test_a_vector_within_the_ledger_is_admitted_and_clears_the_stop() -> None:
    story = Story(known=PLANNED, stopped_seq=1, stopped_code="event.seen_ahead", gap_nonce="0" * 32)
    assert story.take(story.writes(seen={"office-main": 5})) == ["admitted"]
    assert (story.chain.author.stopped_code, story.chain.author.gap_nonce) == (None, None)


def test_a_vector_that_shrinks_is_refused_for_good() -> None:
    known = {(LEAKY_BOILER, "office-main", seq): {} for seq in (4, 5)}
    story = Story(known=Known(marks={"office-main": 5}, knowledge=known))
    events = story.writes(seen={"office-main": 5}), story.writes(seen={"office-main": 4}), story.writes(seen={"office-main": 5})
    assert story.take(*events) == ["admitted", "event.seen_shrinks", "admitted"]


def test_a_vector_may_be_smaller_on_another_stream() -> None:
    story = Story(known=PLANNED)
    first = story.writes(seen={"office-main": 5})
    second = story.writes(stream="intervention:0192f000-0000-7000-8000-000000000043")
    assert story.take(first, second) == ["admitted", "admitted"]


def test_a_vector_that_is_not_closed_is_refused() -> None:
    knowledge = {(LEAKY_BOILER, "office-main", 5): {"other-i1": 3}, (LEAKY_BOILER, "other-i1", 3): {}}
    known = Known(marks={"office-main": 5, "other-i1": 3}, knowledge=knowledge)
    open_one, closed = Story(known=known), Story(known=known)
    assert open_one.take(open_one.writes(seen={"office-main": 5})) == ["event.seen_open"]
    assert closed.take(closed.writes(seen={"office-main": 5, "other-i1": 3})) == ["admitted"]


def test_a_vector_that_names_who_wrote_nothing_on_the_stream_is_refused() -> None:
    story = Story(known=Known(marks={"office-main": 5, "stranger-i1": 9}, knowledge=PLANNED.knowledge))
    assert story.take(story.writes(seen={"office-main": 5, "stranger-i1": 9})) == ["event.header_malformed"]
    assert story.take(story.writes(seen={"office-main": 5})) == ["admitted"]


def test_a_vector_that_names_the_event_itself_is_refused() -> None:
    story = Story()
    assert story.take(story.writes(seen={"leaky-i1": 1})) == ["event.header_malformed"]


def test_a_body_with_two_spellings_is_refused() -> None:
    story = Story()
    assert story.take(story.writes(body=b'{"text": "spaced"}'), story.writes()) == ["event.body_not_canonical", "admitted"]


def test_an_id_that_another_event_has_is_refused() -> None:
    story = Story()
    first = story.writes()
    assert story.take(first, story.writes(id=first.id)) == ["admitted", "event.id_taken"]


def test_a_schema_failure_is_admitted_opaque() -> None:
    story = Story()
    outcome = story.chain.take(story.writes(body=b'{"text":17}'))
    assert word(outcome) == "admitted"
    assert "text" in facts(outcome)["opaque"]


def test_a_type_of_a_later_version_is_admitted_opaque() -> None:
    story = Story()
    outcome = story.chain.take(story.writes("intervention.dreamt_of.v7"))
    assert word(outcome) == "admitted"
    assert "unknown" in facts(outcome)["opaque"]


def test_after_a_revocation_events_are_held_and_refusals_stay_refusals() -> None:
    story = Story(revoked_at_ms=TEN_MS - 1)
    assert story.take(story.writes(), story.writes("intervention.cancelled.v1", b"{}")) == ["held", "event.type_not_allowed"]


def test_whoever_never_had_a_session_on_the_device_is_held_and_stops_nobody() -> None:
    story = Story(known=Known(people=frozenset({"dominique"})))
    events = [story.writes(actor=actor) for actor in ("dominique", "mallory", "camille", None)]
    assert story.take(*events) == ["admitted", "held", "admitted", "admitted"]


def test_an_office_names_its_people_itself() -> None:
    story = Story(AuthorKind.OFFICE, technician=None)
    assert story.take(story.writes("intervention.cancelled.v1", b'{"reason":"repaired"}', actor="dispatcher-1")) == ["admitted"]


def test_a_nonce_that_was_not_used_yet_stays() -> None:
    chain = Story().chain
    chain.ask_again("a" * 32, to=3, used=False)
    chain.ask_again("b" * 32, to=2, used=False)
    assert (chain.author.gap_nonce, chain.author.gap_to) == ("a" * 32, 3)
    chain.ask_again("c" * 32, to=2, used=True)
    assert (chain.author.gap_nonce, chain.author.gap_to) == ("c" * 32, 3)


def test_a_gap_stays_open_until_the_mark_has_reached_all_that_was_given_up() -> None:
    story = Story()
    first, second = story.writes(), story.writes()
    story.chain.ask_again("a" * 32, to=2, used=False)
    story.take(first)
    assert story.chain.author.gap_nonce == "a" * 32
    story.take(second)
    assert (story.chain.author.gap_nonce, story.chain.author.gap_to) == (None, None)


def test_what_the_mark_has_passed_is_not_asked_for() -> None:
    story = Story()
    story.take(story.writes(), story.writes())
    story.chain.ask_again("a" * 32, to=2, used=False)
    assert story.chain.author.gap_nonce is None


def test_a_segment_that_jumps_ends_before_the_jump() -> None:
    story = Story()
    events = [story.writes().signed for _ in range(4)]
    segment = read(encode_segment([events[0], events[1], events[3]]))
    assert [event.seq for event in segment.events] == [1, 2]
    assert segment.fault is not None
    assert segment.fault.code == "segment.not_consecutive"


def test_a_segment_ends_before_the_first_false_signature() -> None:
    story = Story()
    events = [story.writes().signed for _ in range(3)]
    events[1] = events[1]._replace(signature=events[0].signature)
    segment = read(encode_segment(events))
    assert len(segment.events) == 1
    assert segment.fault is not None
    assert segment.fault.code == "event.signature_invalid"


def test_what_a_locked_device_sends_is_opened_before_it_is_verified() -> None:
    story = Story()
    events = [story.writes().signed for _ in range(2)]
    boxes = [seal_event(ESCROW.public, event) for event in events]
    segment = read(encode_sealed_segment(boxes))
    assert [event.signed for event in segment.events] == events
    assert segment.fault is None


def test_the_good_prefix_of_a_sealed_segment_is_kept_when_a_box_in_its_middle_is_not_ours() -> None:
    story = Story()
    events = [story.writes().signed for _ in range(4)]
    boxes = [seal_event(ESCROW.public, event) for event in events]
    boxes[2] = seal_event(WrapKey.generate().public, events[2])
    segment = read(encode_sealed_segment(boxes))
    assert [event.signed for event in segment.events] == events[:2]
    assert segment.fault is not None
    assert segment.fault.code == "segment.malformed"


def test_a_box_for_another_key_is_no_segment() -> None:
    box = seal_event(WrapKey.generate().public, Story().writes().signed)
    with pytest.raises(Problem) as refused:
        read(encode_sealed_segment([box]))
    assert refused.value.code == "segment.malformed"


@pytest.mark.parametrize("header", [b"", b"{}", b"\xff\xfe", b'{"seq":1e400}', b"[" * 5000, b'{"author":"a","seq":0}'])
def test_a_first_header_that_cannot_be_placed_is_no_segment(header: bytes) -> None:
    with pytest.raises(Problem) as refused:
        read_event(SignedEvent(header, b"{}", bytes(64)))
    assert refused.value.code == "event.header_malformed"
