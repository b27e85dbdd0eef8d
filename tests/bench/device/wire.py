"""The bytes of a sync: with nothing new, and with changed documents, through the real servers, as they lie on the wire.

One light device of an agency of its own. Bytes are those of the broker's protocol after CONNECT; documents are compared with one
zstd frame that holds nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nats.aio.client import Client, RawCredentials

from tests.bench.device.devices import Broker, light_device, signed_in
from tests.bench.ledger.corpus import AgencyFiles
from tests.bench.ledger.machine import Machine
from tests.bench.ledger.throughput import rows
from tests.bench.ledger.watching import watched
from tests.bench.ledger.workload import Segment
from tests.fixtures.wire_bytes import Counted, compressed_bytes
from zb_contracts.segment import MESSAGE_ID_HEADER
from zb_contracts.sync import read_answer, unpack_document
from zb_device.simulator.light import nats_transport
from zb_device.simulator.tally import Tally
from zb_device.transport import Transport

PROJECTED_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Bytes:
    """Of one request and its answer."""

    idle_up: int
    idle_down: int
    idle_requests: int
    changed_documents: int
    changed_down: int
    compressed: int

    @property
    def ratio(self) -> float:
        return self.changed_down / self.compressed


@dataclass(slots=True)
class Kept:
    """A transport that keeps the answers that pass through it."""

    inner: Transport
    answers: list[bytes]

    async def publish(self, data: bytes, message_id: str) -> None:
        await self.inner.publish(data, message_id)

    async def ask(self, request: bytes) -> bytes:
        self.answers.append(await self.inner.ask(request))
        return self.answers[-1]

    async def close(self) -> None:
        await self.inner.close()


async def measure(machine: Machine, agency: AgencyFiles, changes: Sequence[Segment]) -> Bytes:
    """The agency's plans are in the ledger. Learns them, asks again, and once more after the office moved everything."""
    [row] = signed_in(machine, agency)
    device = light_device(Broker.of(machine), agency.name, row, Tally())
    kept = Kept(nats_transport(device), [])
    wire = Counted(kept, device.pinned.device, str(device.session.technician))
    try:
        await device.contact(wire, 0.0)
        wire.exchanges.clear()
        await device.contact(wire, 0.0)
        idle = list(wire.exchanges)
        await _moved(machine, changes)
        wire.exchanges.clear()
        kept.answers.clear()
        await device.contact(wire, 0.0)
    finally:
        await wire.close()
    contents = [content for answer in kept.answers for content in _contents(answer)]
    return Bytes(
        idle_up=sum(one.asked for one in idle),
        idle_down=sum(one.answered for one in idle),
        idle_requests=len(idle),
        changed_documents=len(contents),
        changed_down=sum(one.answered for one in wire.exchanges),
        compressed=compressed_bytes(contents),
    )


def _contents(answer: bytes) -> list[bytes]:
    """Of the documents in an answer that the device verified."""
    scope = read_answer(unpack_document(answer).payload).scope
    return [document.content for document in scope.documents if document.content is not None] if scope else []


async def _moved(machine: Machine, changes: Sequence[Segment]) -> None:
    total = await rows(machine.dsn) + sum(segment.events for segment in changes)
    client = Client()
    await client.connect(machine.nats.url, user_credentials=RawCredentials(machine.administrator().text()))
    try:
        async with watched(machine.dsn, machine.processes) as seen:
            for segment in changes:
                await client.request(segment.subject, segment.data, headers={MESSAGE_ID_HEADER: segment.message_id})
            await seen.until(total, PROJECTED_S)
    finally:
        await client.close()
