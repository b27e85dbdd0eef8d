"""The envelope and the segment: limits, spelling, and what is refused."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zb_contracts import canonical
from zb_contracts.envelope import (
    BODY_BYTES_MAX,
    HEADER_BYTES_MAX,
    SEEN_AUTHORS_MAX,
    Header,
    SignedEvent,
    digest,
    parse_header,
    sign_event,
)
from zb_contracts.problems import Problem
from zb_contracts.segment import SEGMENT_EVENTS_MAX, cut_segments, decode_segment, encode_segment
from zb_contracts.times import format_time_ms, parse_time_ms
from zb_contracts.vectors import EVENT_KEY, chain

START = chain()["start"]


def refused(data: bytes) -> str:
    with pytest.raises(Problem) as refusal:
        parse_header(data)
    return refusal.value.code


def changed(**changes: object) -> bytes:
    return canonical.encode({**msgspec.json.decode(START.header), **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2}, {"id": "0192f000-0000-4000-8000-000000000001"}, {"author": "*"}, {"author": "a.b"}, {"seq": 0}, {"seq": -1},
        {"seq": 2**63}, {"seq": 1.0}, {"prev": "00"}, {"type": "Intervention.started.v1"}, {"type": "x" * 300},
        {"stream": "moon:1"}, {"stream": "intervention:a/b"}, {"at": "2026-03-16T09:00:00Z"},
        {"at": "2026-02-30T09:00:00.000Z"}, {"elapsed_ms": -1},
        {"anchor": {"id": "a", "server_time": "yesterday"}}, {"seen": {"a": 0}}, {"seen": {"A": 1}}, {"seen": [1]},
        {"body_type": "text/html"}, {"extra": 1}, {"visit": "not-a-uuid"}, {"actor": "Ana Müller"},
    ],
    ids=str,
)  # fmt: skip
def test_a_header_with_a_wrong_value_is_refused(changes: dict[str, object]) -> None:
    assert refused(changed(**changes)) == "event.header_malformed"


def test_a_vector_has_a_limit() -> None:
    assert refused(changed(seen={f"author-{n}": 1 for n in range(SEEN_AUTHORS_MAX + 1)})) == "event.seen_too_large"


def test_as_many_authors_as_a_vector_may_name_fit_into_a_header() -> None:
    """A site to which a new incarnation comes every week is full after twenty years. Ids are of the length that devices have."""
    crowd = {f"dev-{number:010x}-a": 10**6 + number for number in range(SEEN_AUTHORS_MAX)}
    data = changed(seen=crowd)
    assert parse_header(data).seen == crowd
    assert len(data) < HEADER_BYTES_MAX
    long = {f"{number:064x}": 2**53 - 1 for number in range(SEEN_AUTHORS_MAX)}
    assert refused(changed(seen=long)) == "event.header_malformed"


@pytest.mark.parametrize("data", [b"", b"[" * 20_000, b"\xff" * 10, b'{"v":NaN}', b"{" + b" " * 80_000 + b"}"])
def test_hostile_headers_are_refused_by_name(data: bytes) -> None:
    assert refused(data) == "event.header_malformed"


def test_a_body_beyond_its_limit_is_refused_before_it_is_signed() -> None:
    body = canonical.encode({"text": "x" * BODY_BYTES_MAX})
    header = msgspec.structs.replace(msgspec.json.decode(START.header, type=Header), body_sha256=digest(body))
    with pytest.raises(Problem) as refusal:
        sign_event(EVENT_KEY, header, body)
    assert refusal.value.code == "event.body_too_large"


@given(st.integers(min_value=-62135596800000, max_value=253402300799999))
def test_every_moment_has_one_spelling(ms: int) -> None:
    assert parse_time_ms(format_time_ms(ms)) == ms


@given(st.binary(max_size=300))
def test_no_bytes_break_the_segment_reader(data: bytes) -> None:
    with contextlib.suppress(Problem):
        decode_segment(data)


def test_segments_are_cut_at_their_limits_and_lose_nothing() -> None:
    events = [SignedEvent(START.header, b"x" * size, START.signature) for size in (10, 60_000, 60_000, 60_000, 60_000, 60_000)]
    events += [START] * (SEGMENT_EVENTS_MAX + 1)
    segments = cut_segments(events)
    assert [event for segment in segments for event in segment] == events
    for segment in segments:
        assert decode_segment(encode_segment(segment)) == segment


NOT_CANONICAL = (
    b'{"a":1.5}', b'{"b":1,"a":2}', b'{"a":1,"a":1}', b'{"a": 1}', b'{"a":9007199254740992}', b'{"\xc3\xa9":1}',
    b'"\\u00e9"', b"[" * 30 + b"]" * 30,
)  # fmt: skip


@pytest.mark.parametrize("data", NOT_CANONICAL)
def test_only_one_spelling_is_canonical(data: bytes) -> None:
    with pytest.raises(canonical.NotCanonical):
        canonical.decode(data)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-canonical.INTEGER_MAX, canonical.INTEGER_MAX)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcXYZ_09", max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_what_is_encoded_is_read_back(value: object) -> None:
    assert canonical.decode(canonical.encode(value)) == value
