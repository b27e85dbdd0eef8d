"""Our side of what is compared: the events of a fleet through the broker, its photos through media, over a relay that counts.

media runs beside the machine's other parts for as long as it is measured. What the same costs the peer is `peer`'s matter.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg
import httpx
import msgspec
from nats.aio.client import Client, RawCredentials

from tests.bench.device import fleet
from tests.bench.device.devices import Broker, light_device, signed_in
from tests.bench.device.fleet import Say
from tests.bench.ledger.corpus import AgencyFiles
from tests.bench.ledger.machine import Machine
from tests.bench.ledger.watching import cpu_seconds
from zb import keyring
from zb.keys import private_folder, write_secret
from zb.play.network import Cable
from zb.processes import HOST, Service, free_port
from zb.stack import PARTS
from zb_chassis.streams import ensure_streams
from zb_contracts.subjects import REFERENCE
from zb_device.simulator.photos import upload
from zb_device.simulator.tally import Tally
from zb_device.simulator.workday import MIME

MEDIA: Final = "media"
AT_ONCE: Final = 20
"""Devices connected at a time, on both sides."""
SAID_S: Final = 600.0
LOOK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Side:
    """One side's figures for the same events, or the same photos. Bytes are those of TCP's payload, both ways."""

    events: int
    converged_s: float
    up: int
    down: int
    server_cpu_s: float


async def events(machine: Machine, agency: AgencyFiles, say: Say) -> Side:
    """Until every device has all its receipts. RuntimeError where something is lost: then there is nothing to compare."""
    await _said(machine)
    cable = Cable(machine.nats.ports.client)
    await cable.mend()
    try:
        found = await fleet.measure(machine, [agency], say, at_once=AT_ONCE, url=f"nats://{HOST}:{cable.port}")
    finally:
        await cable.cut()
    if found.lost or found.unsettled:
        raise RuntimeError(f"{found.lost} events are lost, {found.unsettled} devices are not settled: nothing to compare")
    return Side(found.events, found.took_s, cable.bytes_up, cable.bytes_down, found.server_cpu_s)


async def _said(machine: Machine) -> None:
    """Until the announcements of what was measured before are out: they would count as ours. TimeoutError."""
    deadline = time.monotonic() + SAID_S
    connection = await asyncpg.connect(machine.dsn)
    try:
        while await connection.fetchval("SELECT EXISTS (SELECT FROM chassis.outbox WHERE sent_at IS NULL AND parked_at IS NULL)"):
            if time.monotonic() > deadline:
                raise TimeoutError("the announcements of the fleet's wave are not out")
            await asyncio.sleep(LOOK_S)
    finally:
        await connection.close()


async def photos(machine: Machine, agency: AgencyFiles, pictures: Sequence[bytes]) -> Side:
    """Each photo by a device of its own, all at once, until the store has verified and kept them."""
    async with _media(machine) as port, httpx.AsyncClient() as client:
        cable = Cable(port)
        await cable.mend()
        places = {"media_url": f"http://{HOST}:{cable.port}"}

        async def sent(row: dict[str, str], picture: bytes) -> None:
            device = light_device(Broker.of(machine), agency.name, row, Tally())
            await upload(client, msgspec.structs.replace(device.pinned, **places), device.keys, device.session, picture, MIME)

        before, began = cpu_seconds(machine.processes()), time.monotonic()
        try:
            async with asyncio.TaskGroup() as sending:
                for row, picture in zip(signed_in(machine, agency), pictures, strict=False):
                    sending.create_task(sent(row, picture))
        finally:
            await cable.cut()
        took_s, after = time.monotonic() - began, cpu_seconds(machine.processes())
    used_s = sum(after[part] - before.get(part, 0.0) for part in after)
    return Side(len(pictures), took_s, cable.bytes_up, cable.bytes_down, used_s)


@asynccontextmanager
async def _media(machine: Machine) -> AsyncIterator[int]:
    """The port of an evidence store on the machine's servers. Reference data nobody publishes here: its stream is made for it."""
    client = Client()
    await client.connect(machine.nats.url, user_credentials=RawCredentials(machine.administrator().text()))
    await ensure_streams(client.jetstream(), [REFERENCE])
    await client.close()
    service = _service(machine)
    service.start()
    machine.services[MEDIA] = service
    try:
        await asyncio.to_thread(service.wait_ready)
        yield service.port
    finally:
        machine.services.pop(MEDIA).stop()


def _service(machine: Machine) -> Service:
    folder, part, port = machine.folder, PARTS[MEDIA], free_port()
    keys = keyring.load_or_create(folder / "keys", tuple(agency.name for agency in machine.agencies), time.time_ns() // 1_000_000)
    credentials = folder / f"{MEDIA}.creds"
    write_secret(credentials, machine.nats.layout.credentials(MEDIA).text().encode())
    settings = {
        "DATABASE_URL": machine.postgres.create_database(part.database),
        "NATS_URL": machine.nats.url,
        "NATS_CREDS": str(credentials),
        "HTTP_PORT": str(port),
        "OIDC_ISSUER": f"http://{HOST}:1",
        "KEYS_DIR": str(keyring.hand_out(keys, MEDIA, folder / "handed-out-media")),
        "DATA_DIR": str(private_folder(folder / "media-data")),
        "LOG_LEVEL": "WARNING",
    }
    environment = {part.prefix + name: value for name, value in settings.items()}
    return Service(MEDIA, (part.module, "serve"), port, environment, folder.parent / "logs" / f"{MEDIA}.log")
