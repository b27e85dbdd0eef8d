"""Verdict facts, one sentence each: what was so at receipt. They are for reading, and change no event's fate."""

from typing import Any

import pytest

from field_ingest.admission.domain import Appended, Author, Chain, Known
from field_ingest.admission.verification import read_event
from field_ingest.ledger.anchors import Anchors
from field_ingest.ledger.facts import ANCHOR_DELAY_MS_MAX, LATE_MS, Session
from field_ingest.ledger.ledger_keys import LedgerKeys
from zb_contracts import canonical
from zb_contracts.envelope import Anchor
from zb_contracts.events import AuthorKind
from zb_contracts.keys import SigningKey
from zb_contracts.ledger_leaf import LEAF_BYTES_MAX, leaf_bytes, read_leaf
from zb_contracts.times import format_time_ms, parse_time_ms

TEN_MS = parse_time_ms("2026-11-23T10:00:00.000Z")
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
KEY = SigningKey.from_seed(b"the key of the leaky boiler's...")
ANCHORS = Anchors(LedgerKeys.alone(SigningKey.from_seed(b"the ledger's checkpoint key.....")))
TOKEN = "0a1b2c"
CAMILLES = Session("leaky", "camille", TEN_MS + HOUR_MS)


class Device:
    """A device whose next event is received at ten; `kind` decides and gives the event's fate and its facts."""

    def __init__(self, new_pen: Any, kind: AuthorKind = AuthorKind.DEVICE, **known: Any) -> None:
        device = "leaky" if kind is AuthorKind.DEVICE else None
        self.pen = new_pen("leaky-i1", device, KEY)
        author = Author("leaky-i1", kind, "main", device, "camille", KEY.public, 0, 0, bytes(32))
        self.chain = Chain(author, Known(**known), received_at_ms=TEN_MS, vouches=ANCHORS.vouches)

    def writes(self, *what: Any, **header: Any) -> dict[str, Any]:
        outcome = self.chain.take(read_event(self.pen.write(*what, **header)))
        assert isinstance(outcome, Appended)
        assert outcome.kind == "admitted", outcome
        return dict(canonical.decode(outcome.facts))


@pytest.fixture
def device(new_pen: Any) -> Device:
    return Device(new_pen)


def test_a_late_event_and_a_clock_that_went_back_are_noted(device: Device) -> None:
    hour_old, late, back = (device.writes(at_ms=TEN_MS - ms) for ms in (HOUR_MS, LATE_MS + 1, LATE_MS + HOUR_MS))
    assert (hour_old["clock_offset_ms"], "late" in hour_old, "clock_went_back" in hour_old) == (HOUR_MS, False, False)
    assert late["late"]
    assert back["clock_went_back"]


def test_a_clock_that_is_an_hour_ahead_is_known_as_an_interval(device: Device) -> None:
    anchor = Anchor("anchor-1", format_time_ms(TEN_MS - 30 * MINUTE_MS))
    facts = device.writes(at_ms=TEN_MS + HOUR_MS, anchor=anchor, elapsed_ms=10 * MINUTE_MS)
    ahead_ms = HOUR_MS + 20 * MINUTE_MS
    assert facts["clock_error_ms"] == [ahead_ms - ANCHOR_DELAY_MS_MAX, ahead_ms]
    assert facts["clock_offset_ms"] == 20 * MINUTE_MS


def test_nothing_was_made_after_it_was_received_so_the_interval_ends_there(device: Device) -> None:
    facts = device.writes(anchor=Anchor("anchor-1", format_time_ms(TEN_MS - 2_000)), elapsed_ms=0)
    assert facts["clock_error_ms"] == [0, 2_000]


def test_an_event_without_anchor_or_elapsed_time_says_so_and_claims_no_interval(device: Device) -> None:
    facts = device.writes(anchor=None, elapsed_ms=None), device.writes(elapsed_ms=None)
    assert [(one["unanchored"], "clock_error_ms" in one) for one in facts] == [(True, False)] * 2


@pytest.mark.parametrize("elapsed_ms", [1, 365 * 24 * HOUR_MS, canonical.INTEGER_MAX])
def test_an_elapsed_time_beyond_the_receipt_is_noted_and_makes_no_leaf_that_cannot_be_read(
    device: Device, elapsed_ms: int
) -> None:
    facts = device.writes(elapsed_ms=elapsed_ms)
    assert (facts["beyond_receipt"], "clock_error_ms" in facts) == (True, False)
    assert facts["clock_offset_ms"] == -min(elapsed_ms, canonical.INTEGER_MAX)


def test_an_anchor_of_the_ledger_is_known_and_every_other_is_not(device: Device) -> None:
    ours = ANCHORS.anchor("a" * 36, TEN_MS)
    moved = Anchor(ours.id, format_time_ms(TEN_MS + 1))
    renamed = Anchor("b" + ours.id[1:], ours.server_time)
    assert device.writes(anchor=ours)["anchor"] == "known"
    assert [device.writes(anchor=one)["anchor"] for one in (moved, renamed, Anchor("made-up", ours.server_time))] == [
        "unknown"
    ] * 3


def test_every_holder_of_the_ledger_key_knows_its_anchors_and_no_other(device: Device) -> None:
    anchor = ANCHORS.anchor("anchor-1", TEN_MS)
    assert Anchors(LedgerKeys.alone(SigningKey.from_seed(b"the ledger's checkpoint key....."))).vouches(anchor)
    assert not Anchors(LedgerKeys.alone(KEY)).vouches(anchor)


@pytest.mark.parametrize(
    ("sessions", "token", "state"),
    [
        ({}, None, "none"),
        ({}, TOKEN, "unknown"),
        ({TOKEN: CAMILLES}, TOKEN, "current"),
        ({TOKEN: Session("leaky", "camille", TEN_MS)}, TOKEN, "expired"),
        ({TOKEN: Session("other", "camille", TEN_MS + HOUR_MS)}, TOKEN, "foreign"),
        ({TOKEN: Session("leaky", "dominique", TEN_MS + HOUR_MS)}, TOKEN, "foreign"),
        ({TOKEN: Session("leaky", None, TEN_MS + HOUR_MS)}, TOKEN, "foreign"),
    ],
)
def test_the_state_of_the_session_at_receipt_is_noted(new_pen: Any, sessions: Any, token: str | None, state: str) -> None:
    assert Device(new_pen, sessions=sessions).writes(token=token)["token"] == state


def test_who_has_no_sessions_has_no_fact_about_them(new_pen: Any) -> None:
    assert "token" not in Device(new_pen, AuthorKind.OFFICE).writes("intervention.cancelled.v1", b'{"reason":"repaired"}')


def test_all_facts_together_leave_room_in_a_leaf(new_pen: Any) -> None:
    device = Device(new_pen)
    device.writes()
    facts = device.writes("intervention.dreamt_of.v7", at_ms=TEN_MS - 48 * HOUR_MS, token=TOKEN)
    assert {"late", "clock_went_back", "opaque", "token", "anchor", "clock_error_ms", "key"} <= facts.keys()
    leaf = leaf_bytes(
        kind="admitted", header_hash=bytes(32), signature=bytes(64), received_at_ms=TEN_MS, facts=canonical.encode(facts)
    )
    assert len(leaf) < LEAF_BYTES_MAX // 2
    assert bytes(read_leaf(leaf).facts) == canonical.encode(facts)
