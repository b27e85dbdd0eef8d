"""field-ingest as a process of its own: enrolment, tokens, segments, revocation, hostile devices, a kill, the audit."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from nats.errors import Error as NatsError

from field_ingest.devices.tokens import TOKENS_MAX
from zb_chassis.claims import decode
from zb_contracts import subjects
from zb_contracts.enrolment import PROOF_AGE_MAX_S
from zb_contracts.sealed import to_base64url
from zb_contracts.segment import encode_segment

REFUSED_AFTER_S = 0.7


async def test_an_enrolled_device_sends_a_segment_and_it_is_in_the_ledger(office: Any, device: Any) -> None:
    await device.enrol(office)
    client = await device.connect(office)
    await device.send(client, device.pen.writes(3))
    row = await office.until_mark(device.answer["author"], 3)
    assert (row["device"], row["agency"]) == (device.answer["device"], "main")
    await client.close()


async def test_the_answer_holds_all_that_a_device_pins(office: Any, device: Any) -> None:
    await device.enrol(office)
    claims = decode(device.answer["token"], now=time.time())
    assert (claims.subject, claims.name, claims.tags) == (device.login.public, device.answer["device"], ("t:camille",))
    assert [key["purpose"] for key in device.answer["keys"]] == ["ledger", "escrow"]
    assert device.answer["log_origin"].endswith(f"/{device.answer['shard']}")


async def test_a_lost_answer_is_given_again_and_other_keys_get_none(office: Any, device: Any, new_device: Any) -> None:
    code = await office.code(technician="camille")
    url = f"{office.service.url}/v1/enrolments"
    first = await office.client.post(url, json=device.request(code))
    again = await office.client.post(url, json=device.request(code))
    assert first.json() == again.json()
    thief = await office.client.post(url, json=new_device().request(code))
    assert (thief.status_code, thief.json()["code"]) == (403, "enrolment.code")


@pytest.mark.parametrize("missing", ["proof", "certification"])
async def test_keys_that_are_not_proven_are_refused(office: Any, device: Any, missing: str) -> None:
    code = await office.code()
    request = device.request(code) | {missing: to_base64url(bytes(64))}
    answer = await office.client.post(f"{office.service.url}/v1/enrolments", json=request)
    assert (answer.status_code, answer.json()["code"]) == (403, "enrolment.proof")
    honest = await office.client.post(f"{office.service.url}/v1/enrolments", json=device.request(code))
    assert honest.status_code == 201


@pytest.mark.parametrize("path", ["/v1/enrolments", "/v1/tokens"])
async def test_what_no_device_ever_sends_is_not_read_into_memory(office: Any, path: str) -> None:
    headers = {"Zb-Device": "leaky", "Zb-Proof": "A", "Zb-Proof-Time": "now", "Content-Type": "application/json"}
    answer = await office.client.post(office.service.url + path, content=b" " * (64 * 1024 + 1), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "input.too_large")


async def test_an_event_key_enrols_once(office: Any, device: Any, new_device: Any) -> None:
    await device.enrol(office)
    twin = new_device(event=device.event)
    answer = await office.client.post(f"{office.service.url}/v1/enrolments", json=twin.request(await office.code()))
    assert answer.json()["code"] == "enrolment.proof"


async def test_a_device_enrolled_again_is_a_new_incarnation_of_itself(office: Any, device: Any, new_device: Any) -> None:
    await device.enrol(office)
    reborn = new_device()
    await reborn.enrol(office, device=device.answer["device"])
    assert reborn.answer["device"] == device.answer["device"]
    assert reborn.answer["author"] == device.answer["device"] + "-i2"


async def test_only_the_agencys_administrator_issues_codes(office: Any) -> None:
    wanted = {"agency": "main"}
    elsewhere = await office.ask("elsewhere", "POST", "/v1/enrolment-codes", wanted)
    auditor = await office.ask("auditor", "POST", "/v1/enrolment-codes", wanted)
    nobody = await office.client.post(f"{office.service.url}/v1/enrolment-codes", json=wanted)
    assert [answer.status_code for answer in (elsewhere, auditor, nobody)] == [403, 403, 401]


async def test_another_agencys_administrator_is_not_told_how_far_a_device_is(office: Any, device: Any) -> None:
    await device.enrol(office)
    place = f"/v1/ledger/{device.answer['author']}"
    asked = [await office.ask(who, "GET", place) for who in ("elsewhere", "administrator", "auditor")]
    assert [answer.status_code for answer in asked] == [404, 200, 200]


async def test_a_device_renews_its_session_with_its_login_key_alone(office: Any, device: Any) -> None:
    await device.enrol(office)
    session = await device.token(office, "camille")
    assert session.status_code == 200, session.text
    drain = await device.token(office, None)
    assert decode(drain.json()["token"], now=time.time()).tags == ("t:drain",)
    client = await device.connect(office, session.json()["token"])
    await client.close()


async def test_a_device_does_not_fill_the_table_of_sessions(office: Any, device: Any) -> None:
    await device.enrol(office)
    connection = await asyncpg.connect(office.service.environment["ZB_INGEST_DATABASE_URL"])
    await connection.execute(
        "INSERT INTO tokens (token_id, author, issued_at_ms, expires_at_ms)"
        " SELECT 't-' || n, $1, $2, $2 FROM generate_series(2, $3) n",
        device.answer["author"],
        time.time_ns() // 1_000_000,
        TOKENS_MAX,
    )
    refused = await device.token(office, "camille")
    assert (refused.status_code, refused.json()["code"]) == (429, "system.rate_limited")
    await connection.execute("DELETE FROM tokens WHERE token_id = 't-2'")
    assert (await device.token(office, "camille")).status_code == 200
    await connection.close()


async def test_a_session_of_another_technician_or_a_stale_proof_is_refused(office: Any, device: Any) -> None:
    await device.enrol(office)
    other = await device.token(office, "somebody-else")
    assert (other.status_code, other.json()["code"]) == (403, "access.forbidden")
    stale_ms = time.time_ns() // 1_000_000 - (PROOF_AGE_MAX_S + 60) * 1000
    stale = await device.token(office, "camille", time_ms=stale_ms)
    assert (stale.status_code, stale.json()["code"]) == (401, "access.device_proof_time")


async def test_a_pools_device_is_used_by_the_technician_of_its_agency_who_signs_in(office: Any, device: Any) -> None:
    await device.enrol(office, technician=None)
    assert decode(device.answer["token"], now=time.time()).tags == ("t:drain",)
    assert (await device.token(office, "noor")).status_code == 403
    assert (await device.token(office, "stranger", person="stranger")).status_code == 403
    assert (await device.token(office, "camille", person="noor")).status_code == 403
    session = await device.token(office, "noor", person="noor")
    assert decode(session.json()["token"], now=time.time()).tags == ("t:noor",)


async def test_another_key_proves_nothing(office: Any, device: Any, new_device: Any) -> None:
    await device.enrol(office)
    thief = new_device(answer=device.answer)
    answer = await thief.token(office, "camille")
    assert answer.json()["code"] == "access.device_proof_invalid"


async def test_after_a_revocation_a_device_drains_and_a_supervisor_admits_in_order(office: Any, device: Any) -> None:
    await device.enrol(office)
    revoked = await office.ask(
        "administrator", "POST", f"/v1/devices/{device.answer['device']}/revocation", {"cause": "lost", "reason": "left in a cab"}
    )
    assert revoked.json() == {"revoked": [device.answer["author"]]}
    assert (await device.token(office, "camille")).json()["code"] == "enrolment.revoked"
    drain = (await device.token(office, None)).json()["token"]
    client = await device.connect(office, drain)
    await device.send(client, device.pen.writes(2))
    await office.until_mark(device.answer["author"], 2)
    await client.close()
    held = [row for row in (await office.ask("auditor", "GET", "/v1/holds")).json() if row["author"] == device.answer["author"]]
    assert [row["seq"] for row in held] == [1, 2]
    decision = {"reason": "found again, untouched"}
    early = await office.ask("administrator", "POST", f"/v1/holds/{held[1]['event_id']}/admission", decision)
    assert early.status_code == 422
    answers = [
        await office.ask("administrator", "POST", f"/v1/holds/{row['event_id']}/admission", decision) for row in (*held, held[0])
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert answers[0].json() == answers[2].json()


async def test_a_hostile_device_is_refused_and_the_good_events_beside_it_are_admitted(office: Any, device: Any) -> None:
    await device.enrol(office)
    author = device.answer["author"]
    client = await device.connect(office)
    events = device.pen.writes(4)
    tampered = [*events[:2], events[2]._replace(body=b'{"text":"all is well"}')]
    await device.send(client, tampered, nonce="tampered")
    await office.until_mark(author, 2)
    await device.send(client, events, nonce="true")
    await office.until_mark(author, 4)
    forked = device.pen.copy()
    forked.events = forked.events[:1]
    await device.send(client, forked.writes(1), nonce="fork")
    row = await office.until(author, lambda row: row["stray_refusals"] == 1)
    assert row["mark"] == 4
    claiming = device.pen.write(seen={"office-main": 999})
    await device.send(client, [claiming])
    row = await office.until(author, lambda row: row["stopped_seq"] == 5)
    assert row["stopped_code"] == "event.seen_ahead"
    counts = (await office.ask("auditor", "GET", "/v1/rejects")).json()["counts"]
    assert ("event.body_mismatch", 1) in [(one["code"], one["times"]) for one in counts if one["subject"] == device.pen.subject]
    with pytest.raises(NatsError):
        await client.request(subjects.field("somebody-else"), encode_segment(events), timeout=REFUSED_AFTER_S)
    await client.close()


async def test_a_service_killed_in_the_middle_takes_everything_once(office: Any, device: Any) -> None:
    await device.enrol(office)
    client = await device.connect(office)
    for _ in range(10):
        await device.send(client, device.pen.writes(8))
    office.service.kill()
    for _ in range(10):
        await device.send(client, device.pen.writes(8))
    await asyncio.to_thread(office.service.start)
    await office.until_mark(device.answer["author"], 160)
    verified = await asyncio.to_thread(office.service.run, "audit", "verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    report = json.loads(verified.stdout)
    assert (report["sound"], report["faults"]) == (True, 0)
    assert report["signatures"] == report["rows"] >= 160
    await client.close()


async def test_the_newest_checkpoint_is_served_and_audited(office: Any) -> None:
    newest = (await office.ask("auditor", "GET", "/v1/checkpoints/latest?shard=0")).json()
    assert newest["note"].split("\n")[1] == str(newest["size"])
    verified = await asyncio.to_thread(office.service.run, "audit", "verify", "--json")
    assert json.loads(verified.stdout)["checkpoints"] == 1


async def test_the_audit_finds_a_body_that_was_changed_in_the_database(office: Any, device: Any) -> None:
    await device.enrol(office)
    client = await device.connect(office)
    await device.send(client, device.pen.writes(1))
    author = device.answer["author"]
    await office.until_mark(author, 1)
    await client.close()
    database = await asyncpg.connect(office.service.environment["ZB_INGEST_DATABASE_URL"])
    body = await database.fetchval("SELECT body FROM ledger WHERE author = $1", author)
    await database.execute("UPDATE ledger SET body = $2 WHERE author = $1", author, b'{"text":"forged"}')
    forged = await asyncio.to_thread(office.service.run, "audit", "verify")
    await database.execute("UPDATE ledger SET body = $2 WHERE author = $1", author, body)
    await database.close()
    assert forged.returncode == 1
    assert "the body has another digest" in forged.stdout


async def test_dead_letters_are_listed_shown_tried_again_settled_and_exported(office: Any, service: Any, tmp_path: Path) -> None:
    async def run(*arguments: str) -> tuple[int, list[Any], str]:
        done = await asyncio.to_thread(service.run, "deadletters", *arguments)
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")], done.stderr

    client = await service.broker.connect("field-ingest")
    numbers = []
    for code in ("segment.spoilt", "segment.spoilt", "segment.other"):
        headers = {"Zb-Dead-Stream": "FIELD", "Zb-Dead-Subject": "field.v1.0.nobody", "Zb-Dead-Tries": "8", "Zb-Dead-Code": code}
        numbers.append(
            (await client.jetstream().publish(subjects.deadletter("field-ingest"), b"no segment", headers=headers)).seq
        )
    await client.close()
    first, second, other = numbers

    code, listed, more = await run("list", "--code", "segment.spoilt", "--limit", "1", "--json")
    assert (code, [row["number"] for row in listed], more) == (0, [first], f"more: --after {first}\n")
    shown = await asyncio.to_thread(service.run, "deadletters", "show", str(other))
    assert json.loads(shown.stdout)["headers"]["Zb-Dead-Code"] == "segment.other"
    code, [tried], _ = await run("retry", str(first), "--json")
    assert (code, tried["became"]) == (1, "GivenUp")
    code, _, _ = await run("settle", str(second), "--reason", "its author sent it again")
    assert code == 0
    code, still_open, _ = await run("list", "--open", "--json")
    assert [(row["number"], row["became"]) for row in still_open if row["number"] in numbers] == [
        (first, "GivenUp"),
        (other, None),
    ]
    lines = await asyncio.to_thread(service.run, "deadletters", "list", "--code", "segment.other")
    assert lines.stdout.split()[0] == str(other)
    file = tmp_path / "letters.jsonl"
    code, _, told = await run("export", "--code", "segment.spoilt", "--output", str(file))
    assert (code, told) == (0, "2 letters exported\n")
    assert [json.loads(line)["number"] for line in file.read_text().splitlines()] == [first, second]
    code, _, missing = await run("show", "4000000")
    assert (code, "there is no dead letter 4000000" in missing) == (1, True)
