"""Files in encrypted chunks: taken only by the ledger's word on this file of this device, and stored as the bytes they are."""

import os
import time
from typing import Any

import httpx
import pytest

from zb_contracts.enrolment import TrustedKey
from zb_contracts.handover import CHUNK_BYTES, CHUNK_TYPE, Handover, sealed_chunk, sign_handover
from zb_contracts.keys import KeyPurpose, SigningKey, certify, seal_to
from zb_contracts.sealed import to_base64url

KEY = bytes(range(32))
LEDGER = SigningKey.from_seed(b"the ledger key of this test.....")


def word(story: Any, data: bytes, *, root: SigningKey | None = None, ends_in_ms: int = 60_000, **changes: Any) -> str:
    """A handover as field-ingest would sign it."""
    own = certify(root or story.ROOT, LEDGER.public, KeyPurpose.LEDGER, not_before_ms=0)
    certificate = TrustedKey(
        kid=own.kid,
        purpose="ledger",
        public=to_base64url(own.public),
        not_before_ms=0,
        not_after_ms=None,
        signature=to_base64url(own.signature),
    )
    fields = {
        "device": "dev-1",
        "sha256": story.sha256(data),
        "length_bytes": len(data),
        "box": to_base64url(seal_to(story.STORE_KEY.public, KEY)),
        "ends_ms": int(time.time() * 1000) + ends_in_ms,
    }
    return sign_handover(Handover(**(fields | changes)), LEDGER, certificate).model_dump_json()


def chunk(story: Any, data: bytes, number: int = 0) -> bytes:
    return sealed_chunk(KEY, os.urandom(12), story.sha256(data), number, data)


async def sent(house: Any, story: Any, data: bytes, body: bytes, offset: int = 0) -> httpx.Response:
    return await house.phone.send(story.sha256(data), offset, body, **{"Content-Type": CHUNK_TYPE})


async def test_a_handed_over_file_is_stored_in_the_clear_under_its_hash(house: Any, story: Any) -> None:
    begun = await house.phone.begin(story.PHOTO, handover=word(story, story.PHOTO))
    assert begun.status_code == 201, begun.text
    answer = await sent(house, story, story.PHOTO, chunk(story, story.PHOTO))
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(len(story.PHOTO)))
    assert house.files.path(story.sha256(story.PHOTO)).read_bytes() == story.PHOTO
    assert await house.pool.fetchval("SELECT count(*) FROM media.upload") == 0


async def test_a_drain_session_uploads_only_what_was_handed_over(house: Any, story: Any) -> None:
    house.phone.technician = "drain"
    refused = await house.phone.begin(story.PHOTO)
    assert (refused.status_code, refused.json()["code"]) == (403, "media.handover")
    assert (await house.phone.begin(story.PHOTO, handover=word(story, story.PHOTO))).status_code == 201


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "dev-2"},
        {"sha256": "ab" * 32},
        {"length_bytes": 7},
        {"box": to_base64url(bytes(80))},
        {"ends_in_ms": -1},
        {"root": SigningKey.from_seed(b"another root than the deployment")},
    ],
)
async def test_a_word_about_something_else_or_by_somebody_else_hands_nothing_over(house: Any, story: Any, changes: Any) -> None:
    refused = await house.phone.begin(story.PHOTO, handover=word(story, story.PHOTO, **changes))
    assert (refused.status_code, refused.json()["code"]) == (403, "media.handover")
    nonsense = await house.phone.begin(story.PHOTO, handover="{}")
    assert nonsense.json()["code"] == "media.handover"
    assert await house.pool.fetchval("SELECT count(*) FROM media.upload") == 0


async def test_a_chunk_that_was_changed_moved_or_comes_without_a_handover_is_refused(house: Any, story: Any) -> None:
    await house.phone.begin(story.PHOTO)
    without = await sent(house, story, story.PHOTO, chunk(story, story.PHOTO))
    assert without.json()["code"] == "media.handover"
    await house.phone.begin(story.PHOTO, handover=word(story, story.PHOTO))
    changed = bytearray(chunk(story, story.PHOTO))
    changed[20] ^= 1
    for body, code in [(bytes(changed), "media.checksum"), (chunk(story, story.PHOTO, 1), "media.checksum")]:
        assert (await sent(house, story, story.PHOTO, body)).json()["code"] == code
    beside = await sent(house, story, story.PHOTO, chunk(story, story.PHOTO), offset=7)
    assert beside.json()["code"] == "media.offset"
    assert CHUNK_BYTES > 7
    whole = await sent(house, story, story.PHOTO, chunk(story, story.PHOTO))
    assert whole.status_code == 204
