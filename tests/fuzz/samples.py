"""Good messages, one at least a target: what mutation starts from, and what a reader has to take.

They are made from the signed vectors, so that signatures and proofs in them hold.
"""

import base64
import json
from typing import Any, Final

import msgspec

from zb_chassis import claims
from zb_chassis.claims import Kind, Nkey
from zb_contracts import envelope, keys, merkle, notes, signed, sync
from zb_contracts.sealed import to_base64url
from zb_contracts.vectors import EVENT_KEY, LEDGER_KEY, LOGIN_KEY, WRAP_KEY, chain, vectors

NOW_S: Final = 1_795_000_000
SIGNER: Final = Nkey.generate(Kind.ACCOUNT, bytes(32))
USER: Final = Nkey.generate(Kind.USER, bytes(range(32)))


def from_base64(text: str) -> bytes:
    return base64.b64decode(text)


def frontier_of_three() -> bytes:
    frontier = merkle.Frontier()
    for one in HASHES:
        frontier.append(one)
    return frontier.to_bytes()


def written(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


VECTORS: Final[dict[str, Any]] = vectors()
EVENTS: Final = tuple(chain().values())
VERIFIER: Final = notes.NoteVerifier.from_text(VECTORS["tree"]["verifier"])
LEAVES: Final = [leaf.encode() for leaf in VECTORS["tree"]["leaves"]]
HASHES: Final = [merkle.leaf_hash(leaf) for leaf in LEAVES]
ROOT: Final = merkle.root_of(HASHES)
PAYLOAD: Final = msgspec.msgpack.encode(
    sync.SyncAnswer(
        nonce="0" * 32,
        author="dev-1-a",
        anchor=envelope.Anchor("anchor-1", "2026-03-16T08:00:00.000Z"),
        shard=0,
        mark=3,
        receipts=(
            sync.Receipt(
                seq=1, id="a", verdict=sync.Verdict.ADMITTED, position=0, leaf=LEAVES[0], inclusion=(HASHES[1], HASHES[2])
            ),
        ),
        checkpoint=VECTORS["tree"]["checkpoint"],
        gap=sync.Gap(first=4, nonce="0" * 32),
        commands=(sync.Command(kind="suspend"),),
        scope=sync.ScopeDelta(
            epoch="e",
            cursor=1,
            full=True,
            documents=(sync.ScopeDocument(id="site:a", change=1, vector={"dev-1-a": 1}, content=b"{}"),),
            count=1,
            more=False,
        ),
    )
)
REQUEST: Final = from_base64(VECTORS["sync"]["request"])
DOCUMENT: Final = signed.sign_document(sync.ANSWER_TYPE, from_base64(VECTORS["sync"]["answer_payload"]), LEDGER_KEY)
TREE_OF_TWO: Final = merkle.root_of(HASHES[:2])
ENROLMENT: Final = {
    "code": "LEAKY-BOILER-2345",
    "login_key": keys.nkey_user_text(LOGIN_KEY.public),
    "event_key": to_base64url(EVENT_KEY.public),
    "wrap_key": to_base64url(WRAP_KEY.public),
    "certification": to_base64url(from_base64(VECTORS["keys"]["certification"]["signature"])),
    "proof": to_base64url(bytes(64)),
    "replaces": None,
    "model": "rugged-7",
}
STATE: Final = {
    "intervention": "0192f000-0000-7000-8000-000000000042",
    "agency": "main",
    "positions": {"0": 3},
    "version": 1,
    "state_hash": "0" * 64,
    "state": {"status": "done"},
}
PRICES: Final = {
    "price_list": "2026",
    "version": 1,
    "currency": "EUR",
    "valid_from": "2026-01-01T00:00:00.000Z",
    "prices": [{"code": "seal", "label": "Seal", "unit": "piece", "unit_price_cents": 450, "vat_permille": 200}],
}
TOKEN: Final = claims.scoped_user(SIGNER, SIGNER.public, USER.public, "dev-1", tags=["t:ana"], issued_at=1, expires_at=2**40)
CLAIMS: Final = claims._parts(TOKEN)[1]
DEAD: Final = {
    f"Zb-Dead-{name}": value
    for name, value in {
        "Stream": "FIELD",
        "Sequence": "7",
        "Subject": "field.v1.dev-1",
        "Code": "system.internal",
        "Reason": "a fault",
        "Tries": "8",
        "Body-Bytes": "9",
    }.items()
}
