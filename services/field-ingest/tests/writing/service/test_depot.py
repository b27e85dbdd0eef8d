"""A depot: a broker of its own, a leaf node of the hub, whose way to the hub is cut and mended. Two real nats-servers, the real
field-ingest: what the depot took meanwhile is admitted once, receipts come back, and a depot is confined as its devices are.
"""

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NoAnswer

from field_ingest.admission.depots import DepotRefused, Stores
from tests.fixtures.broker import Broker
from tests.fixtures.ears import DEADLINE_S, Ears
from zb.depot_access import Depot
from zb.depots import Address, configuration, tell
from zb.nats import HOST, NatsServer, program, signed_layout
from zb.play.network import Cable
from zb.processes import free_port
from zb_chassis.clock import system_clock
from zb_chassis.revocation import revoke

LYON = "lyon"
WAY_BACK_S = 60.0
"""The broker's own patience with a source that stopped answering is some ten seconds, and more after a longer outage."""


@dataclass
class Site:
    """The depot's broker, and the cable between it and the hub."""

    hub: NatsServer
    folder: Path
    cable: Cable
    client_port: int
    monitor_port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://{HOST}:{self.client_port}"

    def describe(self) -> None:
        """What `zb depot init` writes."""
        self.folder.mkdir(exist_ok=True)
        address = Address(f"nats-leaf://{HOST}:{self.cable.port}", f"{HOST}:{self.client_port}", self.monitor_port)
        for way, credentials in self.hub.layout.depot_credentials(Depot(LYON)).items():
            (self.folder / f"{way}.creds").write_text(credentials.text())
        (self.folder / "nats-server.json").write_text(json.dumps(configuration(self.hub.layout, LYON, address)))

    def start(self) -> None:
        self.process = subprocess.Popen([program(), "--config", "nats-server.json"], cwd=self.folder)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    async def until_up(self, ways: int = 3) -> None:
        """Return when so many ways to the hub are up."""
        async with asyncio.timeout(DEADLINE_S), httpx.AsyncClient(timeout=2) as monitor:
            while True:
                try:
                    if (await monitor.get(f"http://{HOST}:{self.monitor_port}/leafz")).json()["leafnodes"] == ways:
                        return
                except httpx.HTTPError:
                    assert self.process is not None
                    assert self.process.poll() is None, (self.folder / "nats-server.log").read_text()[-2000:]
                await asyncio.sleep(0.05)

    async def allow(self, *devices: str) -> None:
        """The administrator gives the depot these devices, while everything runs."""
        depot = Depot(LYON, devices)
        layout = signed_layout(self.hub.keys_dir, self.hub.data_dir / "accounts", time.time, [depot])
        await tell(self.hub.url, layout, depot)


@pytest_asyncio.fixture(scope="module")
async def depot(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """The hub and one depot of it; its ways to the hub are up, and the hub has made its store."""
    folder = tmp_path_factory.mktemp("depot")
    with NatsServer(folder / "nats", folder / "keys", depots=[Depot(LYON)]) as hub:
        assert hub.ports.leaf is not None
        site = Site(hub, folder / LYON, Cable(hub.ports.leaf), free_port(), free_port())
        await site.cable.mend()
        site.describe()
        site.start()
        await site.until_up()
        client = await Broker(hub).connect("field-ingest")
        assert await Stores(client, [LYON], system_clock).ensure(LYON)
        assert not await Stores(client, [LYON], system_clock).ensure(LYON)
        await client.close()
        yield site
        site.kill()
        await site.cable.cut()


@pytest.fixture(scope="module")
def broker(depot: Site) -> Broker:
    """The hub: in place of the session's broker, which has no depots."""
    return Broker(depot.hub)


async def answered(device: Any, client: Client, mark: int) -> Any:
    """The first answer with so many receipts; where nobody answers it is asked again."""
    async with asyncio.timeout(WAY_BACK_S):
        while True:
            try:
                answer = await device.sync(client)
            except (NoAnswer, NoRespondersError):
                await asyncio.sleep(0.1)
                continue
            if answer.mark >= mark and len(answer.receipts) >= mark:  # receipts wait for the next checkpoint
                return answer


async def test_what_a_depot_took_while_its_way_was_down_arrives_once_and_receipts_come_back(
    office: Any, device: Any, depot: Site
) -> None:
    await device.enrol(office)
    await depot.allow(device.answer["device"])
    await depot.until_up()
    client = await device.connect(office, url=depot.url)
    said = await device.send(client, device.pen.writes(3))
    assert (said["stream"], said["domain"]) == ("DEPOT", LYON)
    assert (await answered(device, client, 3)).mark == 3

    await depot.cable.cut()
    await depot.until_up(0)
    sent = [device.pen.writes(5) for _ in range(8)]
    for events in sent:
        await device.send(client, events)
    # A device that hears nothing sends again: the depot knows the message ids.
    assert all([(await device.send(client, events)).get("duplicate") for events in sent])
    with pytest.raises((NoAnswer, NoRespondersError)):
        await device.sync(client)

    await depot.cable.mend()
    answer = await answered(device, client, 43)
    assert [receipt.seq for receipt in answer.receipts] == list(range(1, 44))
    assert {receipt.verdict for receipt in answer.receipts} == {"admitted"}
    assert (await office.mark(device.answer["author"]))["mark"] == 43
    administrator = await office.service.broker.connect(office.service.broker.administrator())
    state = (await administrator.jetstream().stream_info("DEPOTS")).state
    assert state.messages == 9
    assert (await administrator.jetstream().stream_info("FIELD")).state.messages == 0
    await administrator.close()
    await client.close()


async def test_a_store_that_was_lost_is_made_again_and_nothing_of_the_new_one_is_taken_for_old(
    office: Any, device: Any, depot: Site
) -> None:
    await device.enrol(office)
    await depot.until_up()
    depot.kill()
    shutil.rmtree(depot.folder / "store")
    depot.start()
    await depot.until_up()
    ingest = await office.service.broker.connect("field-ingest")
    assert await Stores(ingest, [LYON], system_clock).ensure(LYON)
    await ingest.close()
    client = await device.connect(office, url=depot.url)
    await device.send(client, device.pen.writes(2))
    async with asyncio.timeout(WAY_BACK_S):
        await office.until_mark(device.answer["author"], 2)
    await client.close()


async def rows_of(office: Any, author: str) -> list[tuple[int, str]]:
    """Number and kind of all that the ledger has of an author, refusals too."""
    connection = await asyncpg.connect(office.service.environment["ZB_INGEST_DATABASE_URL"])
    rows = await connection.fetch("SELECT seq, kind FROM ledger WHERE author = $1 ORDER BY seq", author)
    await connection.close()
    return [tuple(row) for row in rows]


async def test_a_device_that_moves_to_the_hub_before_its_depot_could_give_it_all_loses_nothing(
    office: Any, device: Any, depot: Site
) -> None:
    """Some of it comes twice, some by the depot alone, and what follows comes first: each is in the ledger once."""
    await device.enrol(office)
    author = device.answer["author"]
    await depot.until_up()
    await depot.cable.cut()
    await depot.until_up(0)
    client = await device.connect(office, url=depot.url)
    both, by_the_depot = device.pen.writes(3), device.pen.writes(2)
    for events in (both, by_the_depot):
        assert (await device.send(client, events))["domain"] == LYON
    await client.close()

    client = await device.connect(office)
    for events in (device.pen.writes(2), both):
        assert "domain" not in await device.send(client, events)
    await office.until_mark(author, 3)
    await depot.cable.mend()
    answer = await answered(device, client, 7)
    assert [(receipt.seq, receipt.verdict) for receipt in answer.receipts] == [(number, "admitted") for number in range(1, 8)]
    assert await rows_of(office, author) == [(number, "admitted") for number in range(1, 8)]
    await client.close()


async def test_a_hub_that_lost_its_store_takes_what_the_depot_kept_and_nothing_twice(
    office: Any, device: Any, depot: Site
) -> None:
    await device.enrol(office)
    author = device.answer["author"]
    await depot.until_up()
    client = await device.connect(office, url=depot.url)
    await device.send(client, device.pen.writes(3))
    async with asyncio.timeout(WAY_BACK_S):
        await office.until_mark(author, 3)
    depot.hub.kill()
    shutil.rmtree(depot.hub.data_dir / "jetstream")
    await device.send(client, device.pen.writes(2))
    await asyncio.to_thread(depot.hub.start)
    office.service.kill()
    await asyncio.to_thread(office.service.start)
    async with asyncio.timeout(WAY_BACK_S):
        await office.until_mark(author, 5)
    # What the depot gives out again is read to its end before anything is counted.
    await device.send(client, device.pen.writes(1))
    await office.until_mark(author, 6)
    assert await rows_of(office, author) == [(number, "admitted") for number in range(1, 7)]
    await client.close()


async def test_a_device_at_a_depot_writes_as_itself_only(office: Any, device: Any, depot: Site) -> None:
    await device.enrol(office)
    ears = Ears(device.answer["device"])
    credentials = depot.hub.layout.device_token(
        device.login.public, device.answer["device"], "camille", issued_at=int(time.time())
    )
    client = await office.service.broker.connect(device.credentials(credentials), ears, url=depot.url)
    for subject in ("field.v1.alice", "sync.v1.alice.camille", "$JS.API.STREAM.INFO.DEPOT", "depot.v1.lyon.word.x"):
        with pytest.raises((NoAnswer, NoRespondersError)):
            await client.request(subject, b"{}", timeout=0.5)
        await ears.heard("permissions violation for publish", subject)
    ears.stopping = True
    await client.close()


@pytest.mark.parametrize(
    ("way", "publish", "subscribe"),
    [
        (
            "core",
            [
                "field.v1.alice",
                "office.v1.office-main",
                "sync.v1.alice.anna",
                "$JS.API.STREAM.INFO.FIELD",
                "depot.v1.lille.word.x",
            ],
            [">", "interventions.v1.*", "_R_.>", "_INBOX.>", "sync.v1.*.*", "field.v1.*", "$JS.lille.API.>"],
        ),
        ("own", ["sync.v1.alice.anna", "field.v1.alice", "$JS.API.INFO"], [">", "sync.v1.*.*", "field.v1.*", "_R_.>"]),
        ("sys", ["$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.SERVER.PING"], [">", "$SYS.ACCOUNT.>", "$SYS.REQ.USER.INFO"]),
    ],
)
async def test_who_has_a_depots_credentials_is_confined_at_the_hub(
    depot: Site, broker: Broker, way: str, publish: list[str], subscribe: list[str]
) -> None:
    """Whatever runs at the depot: it reads no stream, no answer of others, and asks for no device but its own."""
    ears = Ears(LYON)
    thief = await broker.connect(depot.hub.layout.depot_credentials(Depot(LYON))[way], ears)
    for subject in publish:
        await thief.publish(subject, b"{}")
        await ears.heard("permissions violation for publish", subject)
    for subject in subscribe:
        await thief.subscribe(subject)
        await ears.heard("permissions violation for subscription", subject)
    ears.stopping = True
    await thief.close()


async def test_what_a_hostile_depot_answers_ends_nothing_at_the_hub(depot: Site, broker: Broker) -> None:
    """Whoever has its credentials answers for its store: the round over all depots goes on, whatever the answer is."""
    await depot.cable.cut()
    await depot.until_up(0)
    thief = await broker.connect(depot.hub.layout.depot_credentials(Depot(LYON))["core"])
    ingest = await broker.connect("field-ingest")
    said = [b"[1]", b"nonsense", b'{"error": "x"}', b'{"config": 7}', b"[" * 5_000, b"\xff", b'{"error": {"description": "no"}}']
    words = iter(said)

    async def answer(message: Msg) -> None:
        await thief.publish(message.reply, next(words))

    await thief.subscribe(f"$JS.{LYON}.API.STREAM.INFO.DEPOT", cb=answer)
    await thief.flush()
    for _ in said:
        with pytest.raises(DepotRefused):
            await Stores(ingest, [LYON], system_clock).ensure(LYON)
    await ingest.close()
    await thief.close()
    await depot.cable.mend()
    await depot.until_up()


async def test_a_session_that_ends_is_cut_at_the_depot_too(office: Any, device: Any, depot: Site) -> None:
    await device.enrol(office)
    await depot.until_up()
    ears = Ears(device.answer["device"])
    client = await office.service.broker.connect(device.credentials(device.answer["token"]), ears, url=depot.url)
    system = await office.service.broker.connect("system")
    layout, now = depot.hub.layout, time.time()
    cut = {device.login.public: int(now) + 1}
    await revoke(system, layout.keys["operator-signer"], layout.account("DEV"), cut, now=now)
    assert await ears.cut()
    await system.close()
    await client.close()
