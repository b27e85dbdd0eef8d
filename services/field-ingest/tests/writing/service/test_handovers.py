"""A file's key from escrow to the evidence store: for the device whose event names the file, revoked or not, and nobody else."""

import time
from typing import Any

from zb_contracts import canonical
from zb_contracts.handover import PATH, read_handover
from zb_contracts.keys import WrapKey, open_sealed, seal_to
from zb_contracts.sealed import from_base64url, to_base64url

PHOTO = "ab" * 32
FILE_KEY = bytes(range(32))
BODY = canonical.encode({"file": {"sha256": PHOTO, "length_bytes": 2_304_000, "mime": "image/jpeg"}, "source": "camera"})


def asked(device: Any, **changes: Any) -> dict[str, str]:
    (escrow,) = [key for key in device.answer["keys"] if key["purpose"] == "escrow"]
    box = to_base64url(seal_to(from_base64url(escrow["public"]), FILE_KEY))
    return {"device": device.answer["device"], "sha256": PHOTO, "box": box} | changes


async def photographed(office: Any, device: Any, *, mark: int = 1) -> None:
    client = await device.connect(office)
    await device.send(client, [device.pen.write("intervention.photo_taken.v2", BODY)])
    await office.until_mark(device.answer["author"], mark)
    await client.close()


async def test_it_is_given_where_an_event_of_this_very_device_names_the_file(office: Any, device: Any, new_device: Any) -> None:
    await device.enrol(office)
    early = await device.post(office, PATH, asked(device))
    assert (early.status_code, early.json()["code"]) == (404, "media.unnamed")
    await photographed(office, device)

    answer = await device.post(office, PATH, asked(device))
    assert answer.status_code == 200, answer.text
    handover = read_handover(answer.text, from_base64url(device.answer["root_key"]), time.time_ns() // 1_000_000)
    assert (handover.device, handover.sha256, handover.length_bytes) == (device.answer["device"], PHOTO, 2_304_000)
    store = WrapKey(bytes.fromhex((office.service.keys.folder / "media-wrap.key").read_text()))
    assert open_sealed(store.private, from_base64url(handover.box)) == FILE_KEY

    other = new_device()
    await other.enrol(office, technician="odile")
    assert (await other.post(office, PATH, asked(other))).json()["code"] == "media.unnamed"
    unproven = new_device()
    unproven.answer = device.answer
    assert (await unproven.post(office, PATH, asked(device))).json()["code"] == "access.device_proof_invalid"


async def test_an_event_that_no_schema_reads_says_no_impossible_length(office: Any, device: Any) -> None:
    await device.enrol(office)
    client = await device.connect(office)
    for length in (-1, 0, 2**40):
        body = canonical.encode({"file": {"sha256": PHOTO, "length_bytes": length}})
        await device.send(client, [device.pen.write("intervention.photo_taken.v9", body)])
    await office.until_mark(device.answer["author"], 3)
    refused = await device.post(office, PATH, asked(device))
    assert (refused.status_code, refused.json()["code"]) == (404, "media.unnamed")
    await device.send(client, [device.pen.write("intervention.photo_taken.v2", BODY)])
    await office.until_mark(device.answer["author"], 4)
    await client.close()
    assert (await device.post(office, PATH, asked(device))).status_code == 200


async def test_a_box_that_is_not_for_escrow_hands_nothing_over_and_a_revoked_device_hands_over_its_own(
    office: Any, device: Any
) -> None:
    await device.enrol(office)
    await photographed(office, device)
    wrong = await device.post(office, PATH, asked(device, box=to_base64url(bytes(80))))
    assert (wrong.status_code, wrong.json()["code"]) == (422, "input.invalid")
    place = f"/v1/devices/{device.answer['device']}"
    await office.ask("administrator", "POST", f"{place}/revocation", {"cause": "stolen"})
    assert (await device.post(office, PATH, asked(device))).status_code == 200
