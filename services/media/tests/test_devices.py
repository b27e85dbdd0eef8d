"""Who may upload: tokens and proofs, each thing wrong once."""

import base64
import time
from typing import Any

import pytest

from zb_chassis.claims import Kind, Nkey
from zb_contracts.enrolment import PROOF_AGE_MAX_S

PATH = "/v1/uploads"


async def refused(house: Any, headers: dict[str, str]) -> tuple[int, str]:
    answer = await house.http.post(PATH, headers=headers)
    return answer.status_code, str(answer.json()["code"])


async def test_a_request_without_a_token_is_refused(house: Any) -> None:
    assert await refused(house, {"Tus-Resumable": "1.0.0"}) == (401, "access.unauthenticated")


async def test_an_expired_token_is_refused(house: Any) -> None:
    phone = house.another_phone("dev-1", expires_in_s=-1)
    assert await refused(house, phone.headers("POST", PATH, b"")) == (401, "access.unauthenticated")


async def test_a_token_of_another_signer_is_refused(house: Any) -> None:
    phone = house.another_phone("dev-1")
    phone.signer = Nkey.generate(Kind.ACCOUNT)
    assert await refused(house, phone.headers("POST", PATH, b"")) == (401, "access.unauthenticated")


async def test_a_token_of_another_account_is_refused(house: Any) -> None:
    phone = house.another_phone("dev-1")
    phone.account = Nkey.generate(Kind.ACCOUNT).public
    assert await refused(house, phone.headers("POST", PATH, b"")) == (401, "access.unauthenticated")


@pytest.mark.parametrize("name", ["*", "dev-1/../x", "DEV"])
async def test_a_token_for_a_name_that_is_no_id_is_refused(house: Any, name: str) -> None:
    phone = house.another_phone(name)
    assert await refused(house, phone.headers("POST", PATH, b"")) == (401, "access.unauthenticated")


async def test_a_stolen_token_without_the_login_key_is_of_no_use(house: Any) -> None:
    headers = house.phone.headers("POST", PATH, b"")
    thief = house.another_phone("dev-1").headers("POST", PATH, b"")
    headers |= {"Zb-Proof": thief["Zb-Proof"], "Zb-Proof-Time": thief["Zb-Proof-Time"]}
    assert await refused(house, headers) == (401, "access.device_proof_invalid")


@pytest.mark.parametrize(
    ("method", "path", "body"), [("PATCH", PATH, b""), ("POST", PATH + "/other", b""), ("POST", PATH, b"another body")]
)
async def test_a_proof_of_another_request_is_refused(house: Any, method: str, path: str, body: bytes) -> None:
    assert await refused(house, house.phone.headers(method, path, body)) == (401, "access.device_proof_invalid")


@pytest.mark.parametrize("off_s", [-PROOF_AGE_MAX_S - 5, PROOF_AGE_MAX_S + 5])
async def test_an_old_proof_is_refused_with_the_servers_time(house: Any, off_s: int) -> None:
    answer = await house.http.post(PATH, headers=house.phone.headers("POST", PATH, b"", at_s=time.time() + off_s))
    assert (answer.status_code, answer.json()["code"]) == (401, "access.device_proof_time")
    assert "here it is" in answer.json()["detail"]


@pytest.mark.parametrize("proof", ["", "AAAA", "not base64!", "é"])
async def test_a_proof_that_is_no_signature_is_refused(house: Any, proof: str) -> None:
    headers = [(name, value) for name, value in house.phone.headers("POST", PATH, b"").items() if name != "Zb-Proof"]
    answer = await house.http.post(PATH, headers=[*headers, ("Zb-Proof", proof.encode())])
    assert (answer.status_code, answer.json()["code"]) == (401, "access.device_proof_invalid")


async def test_bytes_under_a_wrong_proof_are_not_kept(house: Any, story: Any) -> None:
    digest = story.sha256(story.PHOTO)
    await house.phone.begin(story.PHOTO)
    path = f"{PATH}/{digest}"
    headers = house.phone.headers("PATCH", path, b"what was signed") | {
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
    }
    answer = await house.http.patch(path, content=story.PHOTO, headers=headers)
    assert answer.json()["code"] == "access.device_proof_invalid"
    assert (await house.phone.look(digest)).headers["upload-offset"] == "0"


async def test_a_captured_creation_declares_no_other_file(house: Any, story: Any) -> None:
    metadata = f"sha256 {b64(story.sha256(story.PHOTO))},mime {b64('image/jpeg')}"
    signed = house.phone.headers("POST", PATH, b"", {"Upload-Length": str(len(story.PHOTO)), "Upload-Metadata": metadata})
    larger = signed | {"Upload-Length": "1000000"}
    other = signed | {"Upload-Metadata": f"sha256 {b64('0' * 64)},mime {b64('image/jpeg')}"}
    checked = signed | {"Upload-Checksum": "sha256 AAAA"}
    for headers in (larger, other, checked):
        assert await refused(house, headers) == (401, "access.device_proof_invalid")
    assert (await house.http.post(PATH, headers=signed)).status_code == 201
    twice = [*signed.items(), ("Upload-Length", "1000000")]
    assert (await house.http.post(PATH, headers=twice)).headers["upload-length"] == str(len(story.PHOTO))


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
