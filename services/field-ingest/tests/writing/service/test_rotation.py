"""The ledger's key is rotated while field-ingest runs: no restart, and a witness that pinned the old key goes on."""

import asyncio
import time
from pathlib import Path
from typing import Any

from zb import keyring
from zb.witness import Witness
from zb_contracts.cosignatures import AddCheckpoint
from zb_contracts.notes import Checkpoint, NoteVerifier, is_signed_by, split_note
from zb_contracts.sealed import from_base64url
from zb_contracts.sync import read_answer

DEADLINE_S = 30.0
SETTLED_MS = 11 * 60_000
DAY_MS = 86_400_000


def size_of(note: str) -> int:
    return Checkpoint.from_text(split_note(note)[0]).size


async def test_a_running_service_signs_with_the_new_key_and_a_witness_goes_on(office: Any, device: Any, tmp_path: Path) -> None:
    await device.enrol(office)
    keys, process = office.service.keys, office.service.process
    client = await device.connect(office)
    first = await device.ask(client)
    before = read_answer(first.payload).checkpoint
    [pinned] = [key for key in device.answer["keys"] if key["purpose"] == "ledger"]
    old = NoteVerifier(device.answer["log_origin"], from_base64url(pinned["public"]))
    witness = Witness.make(tmp_path / "witness", "council.example/witness")
    witness.watch(old)
    assert witness.add(AddCheckpoint(0, (), before).to_text().encode()).status == 200

    # As it will be eleven minutes from now: the new key has settled.
    now_ms = time.time_ns() // 1_000_000 - SETTLED_MS
    certificates = keyring.rotate_ledger(keys.folder, keys.folder / "root.seed", overlap_ms=DAY_MS, now_ms=now_ms)
    keyring.hand_out(keys, "field-ingest", Path(office.service.environment["ZB_INGEST_KEYS_DIR"]))
    await device.send(client, device.pen.writes(3))
    await office.until_mark(device.answer["author"], 3)
    async with asyncio.timeout(DEADLINE_S):
        while (document := await device.ask(client, size=size_of(before))).kid == first.kid:
            pass

    answer = read_answer(document.payload)
    assert document.kid == certificates[-1]["kid"] != first.kid == pinned["kid"]
    assert {certificate.kid for certificate in answer.certificates} == {first.kid, document.kid}
    assert len(split_note(answer.checkpoint)[1]) == 2, "both keys are in force: whoever pinned the old one goes on"
    assert is_signed_by(answer.checkpoint, old)
    asked = AddCheckpoint(size_of(before), answer.consistency, answer.checkpoint)
    assert witness.add(asked.to_text().encode()).status == 200
    assert office.service.process is process
    assert process.poll() is None
    await client.close()
