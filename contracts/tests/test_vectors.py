"""The committed vectors: this implementation agrees with them, and still makes the same bytes."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from zb_contracts import merkle, notes
from zb_contracts.enrolment import COVERED_HEADERS, incarnation_author, incarnation_statement, request_statement
from zb_contracts.envelope import SignedEvent, check_signature, digest, parse_event
from zb_contracts.keys import WrapKey, check_certification, open_sealed, verify
from zb_contracts.problems import Problem
from zb_contracts.sealed import SealedValue, open_sealed_value, to_base64url
from zb_contracts.segment import decode_segment, message_id
from zb_contracts.signed import SignedDocument, verify_document
from zb_contracts.sync import read_answer
from zb_contracts.vectors import vectors

FOLDER = Path(__file__).resolve().parent.parent / "vectors"


def committed(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


@pytest.mark.parametrize("name", ["keys", "events", "segments", "sealed", "tree", "sync", "scope"])
def test_the_same_seeds_make_the_same_bytes(name: str) -> None:
    assert vectors()[name] == committed(name)


@pytest.mark.parametrize("case", committed("events"), ids=lambda case: str(case["name"]))
def test_each_event_is_taken_or_refused_for_the_named_reason(case: dict[str, Any]) -> None:
    signed = SignedEvent(case["header"].encode(), case["body"].encode(), bytes.fromhex(case["signature"]))

    def verify() -> None:
        check_signature(bytes.fromhex(case["public"]), parse_event(signed))

    if case["problem"]:
        with pytest.raises(Problem) as refusal:
            verify()
        assert refusal.value.code == case["problem"]
    else:
        verify()
        assert digest(signed.header) == case["header_sha256"]


def test_a_segment_holds_its_events() -> None:
    case = committed("segments")
    events = decode_segment(base64.b64decode(case["bytes"]))
    assert len(events) == case["events"]
    assert message_id(events) == case["message_id"]
    assert message_id(events, "00" * 16) == case["resend_message_id"]
    wrap = bytes.fromhex(committed("keys")["wrap"]["private"])
    assert decode_segment(base64.b64decode(case["sealed_bytes"]), wrap) == events


def test_a_requests_proof_covers_what_it_declares_of_an_upload() -> None:
    case, login = committed("keys")["request"], bytes.fromhex(committed("keys")["login"]["public"])
    statement = request_statement(case["method"], case["path"], case["body"].encode(), case["time"], case["headers"])
    assert statement == base64.b64decode(case["statement"])
    assert verify(login, statement, base64.b64decode(case["signature"]))
    for name in COVERED_HEADERS:
        changed = case["headers"] | {name: "2048"}
        assert request_statement(case["method"], case["path"], b"", case["time"], changed) != statement


def test_a_new_event_key_says_what_it_replaces() -> None:
    case, keys = committed("keys")["incarnation"], committed("keys")
    event, wrap = (bytes.fromhex(keys[name]["public"]) for name in ("event", "wrap"))
    statement = incarnation_statement(case["device"], case["replaces"], to_base64url(event), to_base64url(wrap))
    assert statement == base64.b64decode(case["statement"])
    assert verify(event, statement, base64.b64decode(case["proof"]))
    assert case["author"] == incarnation_author(case["device"], event)


def test_the_login_key_certified_the_other_two() -> None:
    case = committed("keys")
    login, event, wrap = (bytes.fromhex(case[name]["public"]) for name in ("login", "event", "wrap"))
    check_certification(login, event, wrap, base64.b64decode(case["certification"]["signature"]))


def test_a_wrapped_key_opens() -> None:
    case = committed("keys")
    wrap = WrapKey.from_private(bytes.fromhex(case["wrap"]["private"]))
    assert open_sealed(wrap.private, bytes.fromhex(case["sealed_box"]["box"])) == bytes.fromhex(case["sealed_box"]["plain"])


def test_a_sealed_value_opens_with_its_event_and_field() -> None:
    case = committed("sealed")
    sealed = SealedValue.model_validate({"sealed": case["sealed"]})
    assert open_sealed_value(bytes.fromhex(case["key"]), case["event"], case["field"], sealed) == case["value"]


def test_leaves_root_and_checkpoint_belong_together() -> None:
    case = committed("tree")
    hashes = [merkle.leaf_hash(leaf.encode()) for leaf in case["leaves"]]
    assert [value.hex() for value in hashes] == case["leaf_hashes"]
    verifier = notes.NoteVerifier.from_text(case["verifier"])
    checkpoint = notes.verify_checkpoint(case["checkpoint"], verifier.name, [verifier])
    assert checkpoint.root == merkle.root_of(hashes) == bytes.fromhex(case["root"])


def test_the_answer_is_signed_by_the_ledger() -> None:
    case, keys = committed("sync"), committed("keys")
    document = SignedDocument(case["kid"], base64.b64decode(case["answer_payload"]), bytes.fromhex(case["signature"]))
    payload = verify_document(case["answer_type"], document, {case["kid"]: bytes.fromhex(keys["ledger"]["public"])})
    assert read_answer(payload).mark == 3
