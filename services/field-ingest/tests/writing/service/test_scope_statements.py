"""The ledger's word on what a device holds: for whom it is signed, what it says, and to whom it is refused."""

import time
from typing import Any

import asyncpg

from zb_contracts.enrolment import TrustedKey, certificate_of
from zb_contracts.keys import KeyPurpose, verify_certificate
from zb_contracts.sealed import from_base64url, to_base64url
from zb_contracts.subject_keys import STATEMENT_VALID_MS, SignedStatement, read_statement

PATH = "/v1/scope-statements"


def asked(device: Any, technician: str = "camille") -> dict[str, str]:
    return {"device": device.answer["device"], "technician": technician}


async def in_scope(office: Any, technician: str, *documents: str) -> None:
    """As the projection writes them; the last one has left the scope again."""
    connection = await asyncpg.connect(office.service.environment["ZB_INGEST_DATABASE_URL"])
    await connection.executemany(
        "INSERT INTO scope_document (technician, document, change, state_hash, vector) VALUES ($1, $2, $3, $4, $5)",
        [
            (technician, name, number, None if number == len(documents) else bytes(32), b"{}")
            for number, name in enumerate(documents, 1)
        ],
    )
    await connection.close()


async def test_it_names_the_documents_the_certified_wrap_key_and_where_custody_is(office: Any, device: Any) -> None:
    await device.enrol(office, technician="odile")
    await in_scope(office, "odile", "intervention:i-1", "catalogue:parts/main@1", "stock:van-odile", "site:s-1", "site:gone")
    answer = await device.post(office, PATH, asked(device, "odile"))
    signed = SignedStatement.model_validate(answer.json())
    (trusted,) = [TrustedKey.model_validate(key) for key in device.answer["keys"] if key["purpose"] == "ledger"]
    now_ms = time.time_ns() // 1_000_000
    root = from_base64url(device.answer["root_key"])
    public = verify_certificate(root, certificate_of(trusted), purpose=KeyPurpose.LEDGER, at_ms=now_ms)
    statement = read_statement(signed, {trusted.kid: public}, now_ms)
    assert (statement.device, statement.author) == (device.answer["device"], device.answer["author"])
    assert (statement.technician, statement.documents) == ("odile", ("intervention:i-1", "site:s-1"))
    assert statement.wrap_key == to_base64url(device.wrap.public)
    assert statement.custody_url == "https://custody.test"
    assert now_ms < statement.ends_ms <= now_ms + STATEMENT_VALID_MS


async def test_without_a_session_a_proof_or_while_suspended_there_is_none(office: Any, device: Any, new_device: Any) -> None:
    await device.enrol(office)
    another = await device.post(office, PATH, asked(device, "odile"))
    assert (another.status_code, another.json()["code"]) == (403, "access.forbidden")
    thief = new_device()
    thief.answer = device.answer
    assert (await thief.post(office, PATH, asked(device))).json()["code"] == "access.device_proof_invalid"
    place = f"/v1/devices/{device.answer['device']}"
    await office.ask("administrator", "POST", f"{place}/suspension", {"reason": "left in a train"})
    assert (await device.post(office, PATH, asked(device))).json()["code"] == "enrolment.suspended"
    await office.ask("administrator", "POST", f"{place}/resumption")
    assert (await device.post(office, PATH, asked(device))).status_code == 200
    await office.ask("administrator", "POST", f"{place}/revocation", {"cause": "stolen"})
    assert (await device.post(office, PATH, asked(device))).json()["code"] == "enrolment.revoked"
