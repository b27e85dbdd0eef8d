"""Sessions that end, and devices that come back: revocation, suspension, floods, new incarnations, on the real broker."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import pytest
from nats.aio.client import Client

from field_ingest.admission.admitting import Message
from field_ingest.admission.flood import FloodLimits, FloodWatch
from field_ingest.devices import cuts
from field_ingest.devices.suspensions import Suspensions, of
from field_ingest.devices.warden import Warden
from tests.fixtures.ears import Ears
from zb_chassis.broker import BrokerRefused
from zb_chassis.claims import Credentials, Kind, Nkey, decode
from zb_chassis.clock import system_clock
from zb_chassis.database import Pool, open_pool, transaction
from zb_chassis.revocation import TOKEN_LIFETIME_S_MAX, account_claim
from zb_contracts.enrolment import TokenWord, incarnation_author, incarnation_statement, is_vouched, request_statement
from zb_contracts.keys import SigningKey, WrapKey, certification_statement, nkey_user_public
from zb_contracts.sealed import from_base64url, to_base64url
from zb_contracts.server_time import TimeAnswer, check_time, read_time_unverified
from zb_contracts.sync import SyncRequest, pack, read_answer, unpack_document
from zb_contracts.times import format_time_ms

DEADLINE_S = 20.0


@dataclass
class Watch:
    """A warden on the service's database, as a role that was granted nothing, and what it works with."""

    warden: Warden
    system: Client
    pool: Pool
    account: str
    issuer: str

    async def revocations(self) -> dict[str, int]:
        claim = await account_claim(self.system, self.account, now=time.time(), issuer=self.issuer)
        return dict(claim.nats.get("revocations", {}))


@pytest.fixture
async def watch(service: Any, broker: Any) -> AsyncIterator[Watch]:
    dsn = service.environment["ZB_INGEST_DATABASE_URL"]
    owner = await asyncpg.connect(dsn)
    await owner.execute("DROP ROLE IF EXISTS warden_of_tests")
    await owner.execute("CREATE ROLE warden_of_tests LOGIN PASSWORD 'sees-cuts-alone'")
    await owner.execute("DELETE FROM session_cuts")
    host = dsn.rpartition("@")[2]
    pool = await open_pool(f"postgresql://warden_of_tests:sees-cuts-alone@{host}", application_name="warden")
    system = await broker.connect("system")
    signer, account = broker.layout.keys["operator-signer"], broker.layout.account("DEV")
    try:
        yield Watch(Warden(pool, signer, account), system, pool, account, signer.public)
    finally:
        await system.close()
        await pool.close()
        await owner.execute("DROP ROLE warden_of_tests")
        await owner.close()


@pytest.fixture
async def guarded(watch: Watch) -> AsyncIterator[Watch]:
    """The same, at work."""
    stop = asyncio.Event()
    task = asyncio.create_task(watch.warden.run(watch.system, stop))
    yield watch
    stop.set()
    await task


async def _asked(office: Any, device: Any, client: Client, author: str, *, head: int, technician: str = "camille") -> Any:
    """What the sync responder says; its signature is tests/reading's matter."""
    nonce = "ab" * 16
    request = SyncRequest(nonce=nonce, author=author, mark=0, head=head)
    answer = await client.request(f"sync.v1.{device.answer['device']}.{technician}", pack(request), timeout=10)
    return read_answer(unpack_document(answer.data).payload)


def _incarnation(device: Any, **other: Any) -> tuple[SigningKey, dict[str, Any]]:
    event, wrap = SigningKey.generate(), WrapKey.generate()
    keys = to_base64url(event.public), to_base64url(wrap.public)
    login = nkey_user_public(device.login.public)
    name, replaces = device.answer["device"], other.get("replaces", device.answer["author"])
    return event, {
        "device": name,
        "replaces": replaces,
        "event_key": keys[0],
        "wrap_key": keys[1],
        "certification": to_base64url(device.login.sign(certification_statement(login, event.public, wrap.public))),
        "proof": to_base64url(event.sign(incarnation_statement(name, replaces, *keys))),
    } | other


async def _post(office: Any, device: Any, path: str, value: Any) -> httpx.Response:
    body, at = json.dumps(value).encode(), format_time_ms(time.time_ns() // 1_000_000)
    proof = to_base64url(device.login.sign(request_statement("POST", path, body, at)))
    headers = {"Zb-Device": device.answer["device"], "Zb-Proof": proof, "Zb-Proof-Time": at}
    return await office.client.post(office.service.url + path, content=body, headers=headers)


async def test_the_ledger_vouches_for_every_session_token(office: Any, device: Any) -> None:
    await device.enrol(office)
    keys = {one["kid"]: from_base64url(one["public"]) for one in device.answer["keys"] if one["purpose"] == "ledger"}
    for said in (device.answer, (await device.token(office, "camille")).json(), (await device.token(office, None)).json()):
        assert is_vouched(said["token"], TokenWord(**said["word"]), keys)
        assert not is_vouched(said["token"] + "x", TokenWord(**said["word"]), keys)


# --- The warden ---


async def test_a_revoked_device_is_cut_and_drains_with_a_new_token_and_what_it_sends_is_held(
    office: Any, device: Any, guarded: Watch, broker: Any
) -> None:
    await device.enrol(office)
    ears = Ears(device.answer["device"])
    await broker.connect(Credentials(device.answer["token"], device.login), ears)
    path = f"/v1/devices/{device.answer['device']}/revocation"
    assert (await office.ask("administrator", "POST", path, {"cause": "stolen"})).status_code == 200
    guarded.warden.wake()
    assert "revoked" in (await ears.cut()).lower()
    with pytest.raises(BrokerRefused):
        await device.connect(office)
    assert (await device.token(office, "camille")).json()["code"] == "enrolment.revoked"

    drain = (await device.token(office, None)).json()["token"]
    client = await device.connect(office, drain)
    await device.send(client, device.pen.writes(3))
    await office.until_mark(device.answer["author"], 3)
    answer = await _asked(office, device, client, device.answer["author"], head=3, technician="drain")
    assert ([command.kind for command in answer.commands], answer.mark) == (["wipe"], 3)
    held = [row for row in (await office.ask("auditor", "GET", "/v1/holds")).json() if row["author"] == device.answer["author"]]
    assert [row["seq"] for row in held] == [1, 2, 3]
    await client.close()


async def test_a_warden_that_comes_back_repairs_what_the_broker_lost_and_prunes_what_is_over(watch: Watch, service: Any) -> None:
    now_s = int(time.time())
    names = [Nkey.generate(Kind.USER).public for _ in range(2)]
    owner = await asyncpg.connect(service.environment["ZB_INGEST_DATABASE_URL"])
    rows = [(names[0], now_s), (names[1], now_s - TOKEN_LIFETIME_S_MAX - 1)]
    await owner.executemany("INSERT INTO session_cuts (login_key, cut_at_s) VALUES ($1, $2)", rows)
    assert await watch.warden.round(watch.system)
    assert (await watch.revocations())[names[0]] == now_s
    assert names[1] not in await watch.revocations()
    assert not await watch.warden.round(watch.system)
    assert watch.warden.agrees

    later = Warden(watch.pool, watch.warden._signer, watch.account, lambda: now_s + TOKEN_LIFETIME_S_MAX + 60)
    assert await later.round(watch.system)
    assert await watch.revocations() == {}
    assert await watch.warden.round(watch.system)
    assert (await watch.revocations())[names[0]] == now_s
    await owner.close()


async def test_the_wardens_role_reads_nothing_else(watch: Watch) -> None:
    assert await cuts.newest(watch.pool, 0, 10) == {}
    for table in ("authors", "ledger", "tokens", "enrolment_codes", "suspensions"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await watch.pool.fetch(f"SELECT * FROM {table}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await watch.pool.execute("DELETE FROM session_cuts")


# --- Suspension and floods ---


async def test_a_suspended_device_is_cut_told_and_comes_back_with_everything(
    office: Any, device: Any, guarded: Watch, broker: Any
) -> None:
    await device.enrol(office)
    name = device.answer["device"]
    ears = Ears(name)
    await broker.connect(Credentials(device.answer["token"], device.login), ears)
    asked = await office.ask("administrator", "POST", f"/v1/devices/{name}/suspension", {"reason": "behaves strangely"})
    assert (asked.status_code, asked.json()["cause"], asked.json()["until"]) == (200, "administrator", None)
    guarded.warden.wake()
    await ears.cut()
    refused = await device.token(office, "camille")
    assert (refused.status_code, refused.json()["code"]) == (403, "enrolment.suspended")
    client = await device.connect(office, (await device.token(office, None)).json()["token"])
    answer = await _asked(office, device, client, device.answer["author"], head=0, technician="drain")
    assert [(command.kind, command.argument) for command in answer.commands] == [("suspend", "administrator")]
    await client.close()

    lifted = [await office.ask("administrator", "POST", f"/v1/devices/{name}/resumption") for _ in range(2)]
    assert [answer.json() for answer in lifted] == [{"lifted": True}, {"lifted": False}]
    client = await device.connect(office, (await device.token(office, "camille")).json()["token"])
    await device.send(client, device.pen.writes(4))
    row = await office.until_mark(device.answer["author"], 4)
    assert row["revoked_at_ms"] is None
    await client.close()
    [past] = (await office.ask("auditor", "GET", f"/v1/devices/{name}/suspensions")).json()
    assert past["lifted_by"] is not None
    elsewhere = await office.ask("elsewhere", "POST", f"/v1/devices/{name}/suspension", {"reason": "not mine"})
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (404, "input.not_found")


async def test_a_flooding_device_is_suspended_for_a_time_and_its_neighbour_is_not(
    office: Any, device: Any, new_device: Any, service: Any
) -> None:
    await device.enrol(office)
    neighbour = new_device()
    await neighbour.enrol(office)
    now = [time.time_ns() // 1_000_000]
    pool = await open_pool(service.environment["ZB_INGEST_DATABASE_URL"], application_name="test")
    limits = FloodLimits(messages_max=50, bytes_max=10_000, window_h=2, suspended_s=3_600)
    suspensions = Suspensions(pool, lambda: now[0])
    floods = FloodWatch(pool, suspensions, limits, lambda: now[0])

    def sent(one: Any, messages: int, size: int, tries: int = 1) -> list[Message]:
        return [Message(f"field.v1.{one.answer['device']}", bytes(size), tries) for _ in range(messages)]

    floods.note([*sent(device, 40, 10), *sent(device, 100, 10, tries=2), *sent(neighbour, 50, 10)])
    assert await floods.judge() == []
    floods.note([*sent(device, 11, 10), *sent(neighbour, 0, 0)])
    assert await floods.judge() == [device.answer["device"]]
    floods.note(sent(neighbour, 1, 10_000))
    assert await floods.judge() == [neighbour.answer["device"]]

    # Of a flood not even a drain: that would go on with it.
    for technician in ("camille", None):
        refused = await device.token(office, technician)
        assert (refused.json()["code"], refused.json()["retryable"]) == ("enrolment.suspended", True)
    [made] = await of(pool, device.answer["device"])
    assert (made.cause, made.until_ms) == ("flood", now[0] + 3_600_000)
    # What still comes out of the broker begins a new count and suspends nobody twice.
    floods.note(sent(device, 51, 10))
    assert await floods.judge() == []
    assert len(await of(pool, device.answer["device"])) == 1
    assert (await office.ask("administrator", "POST", f"/v1/devices/{device.answer['device']}/resumption")).json()["lifted"]
    assert (await device.token(office, "camille")).status_code == 200
    floods.note(sent(device, 1, 10))
    assert await floods.judge() == []
    await pool.close()


async def test_the_counts_of_a_judgement_that_failed_are_judged_the_next_time(office: Any, device: Any, service: Any) -> None:
    await device.enrol(office)
    closed = await open_pool(service.environment["ZB_INGEST_DATABASE_URL"], application_name="test")
    limits = FloodLimits(messages_max=1, bytes_max=100, window_h=1, suspended_s=60)
    floods = FloodWatch(closed, Suspensions(closed, system_clock), limits, system_clock)
    floods.note([Message(f"field.v1.{device.answer['device']}", b"1"), Message("office.v1.office-main", b"2")])
    await closed.close()
    with pytest.raises(asyncpg.InterfaceError):
        await floods.judge()
    again = await open_pool(service.environment["ZB_INGEST_DATABASE_URL"], application_name="test")
    floods._pool = again
    floods._suspensions = Suspensions(again, system_clock)
    floods.note([Message(f"field.v1.{device.answer['device']}", b"1")])
    assert await floods.judge() == [device.answer["device"]]
    async with transaction(again) as connection:
        assert await cuts.earliest_issue_s(connection, device.login.public) > 0
    await again.close()


# --- Incarnations ---


async def test_a_device_behind_the_ledger_is_told_and_goes_on_by_its_login_key(office: Any, device: Any) -> None:
    await device.enrol(office)
    before = device.answer["author"]
    client = await device.connect(office)
    await device.send(client, device.pen.writes(3))
    await office.until_mark(before, 3)
    answer = await _asked(office, device, client, before, head=2)
    assert [(command.kind, command.argument) for command in answer.commands] == [("new_incarnation", "sync.store_behind")]

    event, request = _incarnation(device)
    first, again = [await _post(office, device, "/v1/incarnations", request) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 201)
    author = incarnation_author(device.answer["device"], event.public)
    assert (first.json()["author"], first.json()["shard"]) == (author, device.answer["shard"])
    assert {**first.json(), "token": 0, "anchor_id": 0, "server_time": 0} == {
        **again.json(),
        "token": 0,
        "anchor_id": 0,
        "server_time": 0,
    }
    assert decode(again.json()["token"], now=time.time()).subject == device.login.public

    # The session is the device's, not the incarnation's: it goes on. The closed one's events are held.
    pen = device.new_pen(author, device.answer["device"], event)
    await device.send(client, pen.writes(2))
    await office.until_mark(author, 2)
    await device.send(client, device.pen.writes(1))
    await office.until_mark(before, 4)
    held = [row for row in (await office.ask("auditor", "GET", "/v1/holds")).json() if row["device"] == device.answer["device"]]
    assert [(row["author"], row["seq"], row["revoked_cause"]) for row in held] == [(before, 4, "replaced")]
    answer = await _asked(office, device, client, before, head=4)
    assert [(command.kind, command.argument) for command in answer.commands] == [("new_incarnation", "sync.replaced")]
    assert (await _asked(office, device, client, author, head=2)).commands == ()
    await client.close()


async def test_what_is_not_proven_makes_no_incarnation(office: Any, device: Any, new_device: Any) -> None:
    await device.enrol(office)
    stranger = new_device()
    await stranger.enrol(office)
    for wrong in ("proof", "certification"):
        _, request = _incarnation(device, **{wrong: to_base64url(bytes(64))})
        answer = await _post(office, device, "/v1/incarnations", request)
        assert (answer.status_code, answer.json()["code"]) == (403, "enrolment.proof")
    _, request = _incarnation(device, replaces=stranger.answer["author"])
    assert (await _post(office, device, "/v1/incarnations", request)).json()["code"] == "enrolment.proof"
    stolen = new_device(answer=device.answer)
    _, request = _incarnation(stolen)
    assert (await _post(office, stolen, "/v1/incarnations", request)).json()["code"] == "access.device_proof_invalid"


async def test_two_copies_that_replace_each_other_are_stopped_by_name(office: Any, device: Any) -> None:
    await device.enrol(office)
    answers = []
    for _ in range(4):
        _, request = _incarnation(device)
        answers.append(await _post(office, device, "/v1/incarnations", request))
    assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
    assert answers[3].json()["code"] == "enrolment.incarnation_limit"


async def test_a_device_that_was_revoked_or_enrolled_anew_gets_no_incarnation(office: Any, device: Any, new_device: Any) -> None:
    await device.enrol(office)
    reborn = new_device()
    await reborn.enrol(office, device=device.answer["device"])
    _, request = _incarnation(device)
    replaced = await _post(office, device, "/v1/incarnations", request)
    assert (replaced.status_code, replaced.json()["code"]) == (409, "enrolment.replaced")
    await office.ask("administrator", "POST", f"/v1/devices/{device.answer['device']}/revocation", {"cause": "lost"})
    _, request = _incarnation(reborn)
    assert (await _post(office, reborn, "/v1/incarnations", request)).json()["code"] == "enrolment.revoked"


async def test_a_device_asks_only_for_incarnations_of_its_own(office: Any, device: Any, new_device: Any) -> None:
    await device.enrol(office)
    other = new_device()
    await other.enrol(office)
    client = await device.connect(office)
    answer = await _asked(office, device, client, other.answer["author"], head=0)
    assert (answer.refusal, answer.receipts, answer.mark, answer.scope) == ("sync.wrong_author", (), 0, None)
    await client.close()


# --- Time ---


async def test_the_servers_time_is_signed_for_the_nonce(office: Any, device: Any) -> None:
    await device.enrol(office)
    nonce = "0123456789abcdef" * 2
    answer = TimeAnswer.model_validate((await office.client.get(f"{office.service.url}/v1/time", params={"nonce": nonce})).json())
    assert abs(read_time_unverified(answer, nonce) / 1000 - time.time()) < 60
    [ledger] = [key for key in device.answer["keys"] if key["purpose"] == "ledger"]
    assert answer.kid == ledger["kid"]
    check_time(answer, from_base64url(ledger["public"]))
    refused = await office.client.get(f"{office.service.url}/v1/time", params={"nonce": "anything else"})
    assert refused.status_code == 422
