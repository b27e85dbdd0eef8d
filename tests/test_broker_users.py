"""Who is let in, and for how long: tokens that are expired, stolen, forged or revoked, and what each service may do.

The devices' own attacks stand in test_broker_confinement.py. A refused publish is known only on the error callback.
"""

import time
from collections.abc import Callable

import pytest
from nats.aio.client import Client

from tests.fixtures.broker import Broker
from tests.fixtures.ears import DEADLINE_S, Ears
from zb.nats import NatsStartError
from zb_chassis import claims
from zb_chassis.broker import BrokerRefused
from zb_chassis.claims import ClaimError, Credentials, Kind, Nkey, Permissions
from zb_chassis.revocation import push, reconcile, revoke


def token(broker: Broker, key: Nkey, **changes: object) -> str:
    """A device token by the real signer, with something that no issuer of ours would write."""
    now = int(time.time())
    arguments: dict[str, object] = {"tags": ("t:eve",), "issued_at": now, "expires_at": now + 3600} | changes
    signer, account = broker.layout.keys["device-signer"], broker.layout.account("DEV")
    return claims.scoped_user(signer, account, key.public, "mallory", **arguments)  # type: ignore[arg-type]


async def test_an_expired_token_is_refused(broker: Broker) -> None:
    key, now = Nkey.generate(Kind.USER), int(time.time())
    with pytest.raises(BrokerRefused, match="the broker refused mallory"):
        await broker.connect(Credentials(token(broker, key, issued_at=now - 7200, expires_at=now - 1), key))


async def test_a_session_ends_when_its_token_does(broker: Broker) -> None:
    key, ears = Nkey.generate(Kind.USER), Ears("mallory")
    client = await broker.connect(Credentials(token(broker, key, expires_at=int(time.time()) + 2), key), ears)
    assert "expired" in (await ears.cut()).lower()
    assert client.is_closed


async def test_a_token_of_another_device_is_worth_nothing_without_its_key(broker: Broker) -> None:
    stolen = broker.device("alice", "anna").token
    with pytest.raises(BrokerRefused):
        await broker.connect(Credentials(stolen, Nkey.generate(Kind.USER)))


@pytest.mark.parametrize("subject", ["sync.v1.mallory.eve", "sync.v1.mallory.drain", "$JS.API.INFO"])
async def test_a_token_without_a_technician_asks_for_nothing(
    broker: Broker, ingest: Client, responder: list[str], subject: str
) -> None:
    key, ears = Nkey.generate(Kind.USER), Ears("mallory")
    client = await broker.connect(Credentials(token(broker, key, tags=()), key), ears)
    await client.request("field.v1.mallory", b"segment", timeout=DEADLINE_S)
    await client.publish(subject, b"")
    await client.flush()
    await ears.heard("permissions violation for publish", subject)
    assert responder == []
    await client.close()


async def test_a_token_with_permissions_of_its_own_is_refused(broker: Broker) -> None:
    key, now = Nkey.generate(Kind.USER), int(time.time())
    everything = Permissions((">",), (), (">",))
    signer, account = broker.layout.keys["device-signer"], broker.layout.account("DEV")
    forged = claims.user(signer, account, key.public, "mallory", everything, issued_at=now, expires_at=now + 3600)
    with pytest.raises(BrokerRefused):
        await broker.connect(Credentials(forged, key))


@pytest.mark.parametrize("signer", ["dev", "core", "core-signer", "sys-signer", "operator-signer", "stranger"])
async def test_a_token_signed_by_another_key_is_refused(broker: Broker, signer: str) -> None:
    keys = {**broker.layout.keys, "stranger": Nkey.generate(Kind.ACCOUNT)}
    key, now = Nkey.generate(Kind.USER), int(time.time())
    forged = claims.scoped_user(keys[signer], broker.layout.account("DEV"), key.public, "mallory", tags=("t:eve",), issued_at=now)
    with pytest.raises(BrokerRefused):
        await broker.connect(Credentials(forged, key))


async def test_the_device_signer_makes_no_user_of_core(broker: Broker) -> None:
    key, now = Nkey.generate(Kind.USER), int(time.time())
    signer, account = broker.layout.keys["device-signer"], broker.layout.account("CORE")
    forged = claims.scoped_user(signer, account, key.public, "field-ingest", issued_at=now)
    with pytest.raises(BrokerRefused):
        await broker.connect(Credentials(forged, key))


@pytest.mark.parametrize("name", ["*", ">", "a.b", "", "Alice", "a" * 65, "a b"])
def test_no_token_is_made_for_a_name_that_is_no_id(broker: Broker, name: str) -> None:
    public = Nkey.generate(Kind.USER).public
    with pytest.raises(ValueError, match="not an id"):
        broker.layout.device_token(public, name, "eve", issued_at=0)
    with pytest.raises(ValueError, match="not an id"):
        broker.layout.device_token(public, "mallory", name, issued_at=0)


async def test_a_revoked_device_is_cut_at_once_and_stays_out_after_a_restart(
    own_broker: Callable[[], Broker],
) -> None:
    broker, key, ears = own_broker(), Nkey.generate(Kind.USER), Ears("mallory")
    credentials = broker.device("mallory", "eve", key)
    await broker.connect(credentials, ears)
    system = await broker.connect("system")
    now, signer = time.time(), broker.layout.keys["operator-signer"]
    await revoke(system, signer, broker.layout.account("DEV"), {key.public: int(now)}, now=now)
    await ears.cut()
    await system.close()
    with pytest.raises(BrokerRefused):
        await broker.connect(credentials)

    broker.server.stop()
    again = own_broker()
    with pytest.raises(BrokerRefused):
        await again.connect(credentials)
    later = again.layout.device_token(key.public, "mallory", "eve", issued_at=int(now) + 1)
    await (await again.connect(Credentials(later, key))).close()


async def test_more_cut_sessions_than_a_claim_can_name_end_all_that_are_older(
    own_broker: Callable[[], Broker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zb_chassis.revocation.REVOCATIONS_MAX", 3)
    broker, key, ears, now = own_broker(), Nkey.generate(Kind.USER), Ears("alice"), int(time.time())
    signer, account = broker.layout.keys["operator-signer"], broker.layout.account("DEV")
    await broker.connect(broker.device("alice", "anna", key), ears)
    system = await broker.connect("system")
    wanted = {Nkey.generate(Kind.USER).public: now + number for number in range(4)}
    assert await reconcile(system, signer, account, wanted, now=now) == 1
    assert await reconcile(system, signer, account, wanted, now=now) is None
    await ears.cut()
    later = broker.layout.device_token(key.public, "alice", "anna", issued_at=now + 4)
    await (await broker.connect(Credentials(later, key))).close()
    await system.close()


async def test_an_account_claim_of_a_stranger_lets_nobody_in_and_is_found_at_the_next_start(
    own_broker: Callable[[], Broker],
) -> None:
    """The server stores what its system user pushes before it looks at the issuer, and then closes the account: so the
    system user's credentials are worth an outage, and no more.
    """
    broker = own_broker()
    system, stranger = await broker.connect("system"), Nkey.generate(Kind.OPERATOR)
    core = broker.layout.account("CORE")
    later = int(time.time()) + 60
    await push(system, claims.encode(stranger, core, "CORE", Kind.ACCOUNT, {"limits": {"conn": -1}}, issued_at=later))
    with pytest.raises(BrokerRefused):
        await broker.connect("media")
    with pytest.raises(ClaimError, match="not a trusted issuer"):
        await revoke(system, broker.layout.keys["operator-signer"], core, {}, now=time.time())
    await system.close()
    broker.server.stop()
    with pytest.raises(NatsStartError, match=r"is damaged .* restore it from a backup"):
        own_broker()


@pytest.mark.parametrize(
    ("service", "subject"),
    [
        ("scheduling", "office.v1.billing-bridge"),
        ("scheduling", "office.v1.ingest"),
        ("scheduling", "interventions.v1.leaky-boiler"),
        ("scheduling", "field.v1.alice"),
        ("scheduling", "deadletter.v1.media"),
        ("scheduling", "$JS.API.STREAM.PURGE.REFERENCE"),
        ("scheduling", "$JS.API.STREAM.CREATE.FIELD"),
        ("scheduling", "$JS.API.CONSUMER.MSG.NEXT.INTERVENTIONS.media"),
        ("scheduling", "$JS.ACK.INTERVENTIONS.media.1.1.1.1.0"),
        ("media", "office.v1.office-paris"),
        ("media", "evidence.v1.a.b"),
        ("media", "$JS.API.CONSUMER.CREATE.FIELD.media"),
        ("billing-bridge", "office.v1.office-paris"),
        ("billing-bridge", "reference.v1.prices"),
        ("field-ingest", "field.v1.alice"),
        ("field-ingest", "office.v1.office-paris"),
        ("field-ingest", "$JS.API.STREAM.DELETE.FIELD"),
        ("field-ingest", "$JS.API.STREAM.PURGE.FIELD"),
        ("field-ingest-sync", "interventions.v1.leaky-boiler"),
        ("field-ingest-sync", "$JS.API.INFO"),
        ("system", "$SYS.REQ.SERVER.PING.VARZ"),
    ],
)
async def test_a_service_may_not_publish(broker: Broker, ingest: Client, service: str, subject: str) -> None:
    ears = Ears(service)
    client = await broker.connect(service, ears)
    await client.publish(subject, b"{}")
    await client.flush()
    await ears.heard("permissions violation for publish", subject)
    await client.close()


@pytest.mark.parametrize("service", ["scheduling", "media", "billing-bridge", "field-ingest", "field-ingest-sync"])
async def test_a_service_hears_no_other_ones_answers(broker: Broker, service: str) -> None:
    ears = Ears(service)
    client = await broker.connect(service, ears)
    for subject in (">", "_INBOX.>", "_INBOX.system.x", "field.v1.*"):
        await client.subscribe(subject)
        await client.flush()
        await ears.heard("permissions violation for subscription", subject)
    await client.close()
