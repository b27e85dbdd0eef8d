"""What each single stage can do alone on this machine, in the same run: signatures, COPY, fetching.

The whole path can be no faster than the slowest of them, and is measured against the first.
"""

import time
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from nats.aio.client import Client, RawCredentials
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from tests.bench.ledger.corpus import read_segments
from tests.bench.ledger.machine import Machine
from zb_contracts.envelope import PAYLOAD_TYPE, ParsedEvent, parse_event
from zb_contracts.keys import dsse_pae, verify
from zb_contracts.segment import decode_segment
from zb_contracts.subjects import FIELD

VERIFIED: Final = 8_000
COPIED_ROWS: Final = 60_000
COPY_ROWS: Final = 1_000
"""Rows of one COPY, each in a transaction of its own."""
FETCHED: Final = 5_000
FETCH_BATCH: Final = 256
FETCH_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Events, rows and messages a second."""

    verify_per_s: float
    read_per_s: float
    """Decoding, parsing and checking headers and digests, one thread."""
    copy_rows_per_s: float
    """Into a table with the ledger's columns, constraints and indexes."""
    copy_bare_rows_per_s: float
    """Into one with the columns only."""
    fetch_messages_per_s: float


async def measure(machine: Machine) -> Limits:
    """All of them, one after the other, while nothing else is asked of the machine. FIELD holds the corpus."""
    events, read_per_s = _read(machine)
    keys = {device.author: bytes.fromhex(device.public) for agency in machine.agencies for device in agency.devices}
    return Limits(
        verify_per_s=_verify(events, keys),
        read_per_s=read_per_s,
        copy_rows_per_s=await _copy(machine, "INCLUDING ALL"),
        copy_bare_rows_per_s=await _copy(machine, ""),
        fetch_messages_per_s=await _fetch(machine),
    )


def _read(machine: Machine) -> tuple[list[ParsedEvent], float]:
    messages, count = [], 0
    for segment in read_segments(machine.agencies[0].field):
        messages.append(segment.data)
        count += segment.events
        if count >= VERIFIED:
            break
    began = time.perf_counter()
    events = [parse_event(signed) for data in messages for signed in decode_segment(data)]
    return events, count / (time.perf_counter() - began)


def _verify(events: list[ParsedEvent], keys: dict[str, bytes]) -> float:
    work = [(keys[event.header.author], dsse_pae(PAYLOAD_TYPE, event.signed.header), event.signed.signature) for event in events]
    began = time.perf_counter()
    good = sum(verify(*one) for one in work)
    took = time.perf_counter() - began
    if good != len(work):
        raise RuntimeError(f"{len(work) - good} events of the corpus do not verify")
    return good / took


async def _copy(machine: Machine, including: str) -> float:
    connection = await asyncpg.connect(machine.dsn)
    try:
        rows = [tuple(row) for row in await connection.fetch("SELECT * FROM ledger ORDER BY position LIMIT $1", COPIED_ROWS)]
        await connection.execute(f"CREATE TABLE copied (LIKE ledger {including})")
        began = time.perf_counter()
        for first in range(0, len(rows), COPY_ROWS):
            await connection.copy_records_to_table("copied", records=rows[first : first + COPY_ROWS])
        took = time.perf_counter() - began
        await connection.execute("DROP TABLE copied")
        return len(rows) / took
    finally:
        await connection.close()


async def _fetch(machine: Machine) -> float:
    """Fetch and acknowledge with a durable of its own, as admission does, without doing anything with the messages."""
    client = Client()
    await client.connect(machine.nats.url, user_credentials=RawCredentials(machine.administrator().text()))
    try:
        jetstream = client.jetstream()
        await jetstream.add_consumer(FIELD.name, _consumer())
        subscription = await jetstream.pull_subscribe_bind("bench", FIELD.name)
        began = last = time.perf_counter()
        fetched = 0
        while fetched < FETCHED and (batch := await _batch(subscription)):
            for message in batch:
                await message.ack()
            await client.flush()
            fetched, last = fetched + len(batch), time.perf_counter()
        took = last - began
        await jetstream.delete_consumer(FIELD.name, "bench")
        return fetched / took
    finally:
        await client.close()


async def _batch(subscription: Any) -> list[Any]:
    try:
        return list(await subscription.fetch(FETCH_BATCH, timeout=FETCH_TIMEOUT_S))
    except TimeoutError:
        return []


def _consumer() -> ConsumerConfig:
    return ConsumerConfig(
        name="bench", durable_name="bench", deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.EXPLICIT, max_ack_pending=2_000
    )
