"""How the broker sorts what is published for admission: a consumer a shard, and the subjects in between.

FIELD and OFFICE store `field.v1.<device>` as `field.v1.<shard>.<device>`, DEPOTS as FIELD does; devices, permissions and imports
know nothing of it. A route is no authority: whoever takes a message appends its events to the shard that stands in their author's
row (ledger.py).
"""

from collections.abc import Iterable, Sequence
from typing import Final

from nats.js import JetStreamContext
from nats.js.api import SubjectTransform

from field_ingest.admission.depots import prepare_fetching
from zb_chassis.consuming import Subscription
from zb_chassis.streams import drop_consumer, ensure_streams
from zb_contracts.subjects import DEPOTS, FIELD, OFFICE, STREAMS, StreamSpec

ROUTED: Final = (FIELD, OFFICE)
"""The streams whose messages are sorted: each takes one pattern, `<name>.v1.*`."""
OWNED: Final = tuple(stream for stream in STREAMS if stream.owner == FIELD.owner)
UNSORTED_READER: Final = 0
"""The shard whose admission also reads what was stored before the broker sorted, under the subject as published."""


def readings(shards: Iterable[int], *, batch_max: int, ack_wait_s: float, depots: bool = False) -> list[Subscription]:
    """A durable reading of each routed stream for each of these shards, and of DEPOTS where there are `depots`."""
    return [
        Subscription(
            stream,
            stream.owner,
            durable=f"{stream.owner}-{shard}",
            subjects=_stored(stream, shard),
            batch_max=batch_max,
            ack_wait_s=ack_wait_s,
        )
        for shard in shards
        for stream in (*ROUTED, *([DEPOTS] if depots else []))
    ]


async def prepare_streams(jetstream: JetStreamContext, shards: int, depots: Sequence[str] = ()) -> None:
    """Create or update every stream that field-ingest owns; the routed ones sort for so many shards from now on."""
    await ensure_streams(jetstream, OWNED, transforms={stream.name: transform(stream, shards) for stream in ROUTED})
    if depots:
        await prepare_fetching(jetstream, depots, transform(FIELD, shards))


async def prepare_consumers(jetstream: JetStreamContext, wanted: Sequence[Subscription]) -> None:
    """Create or update the consumers, and drop the one that read everything before there were shards.

    What that one had not settled is read again by the new ones; what it had settled is a duplicate to the ledger.
    """
    for reading in wanted:
        await reading.prepare(jetstream)
    for stream in ROUTED:
        await drop_consumer(jetstream, stream.name, stream.owner)


def transform(stream: StreamSpec, shards: int) -> SubjectTransform:
    """How the broker changes a subject before it stores a message of the stream."""
    [pattern] = stream.subjects
    return SubjectTransform(src=pattern, dest=_sorted(stream, f"{{{{partition({shards},1)}}}}", "{{wildcard(1)}}"))


def _stored(stream: StreamSpec, shard: int) -> tuple[str, ...]:
    if stream is DEPOTS:
        return (_sorted(FIELD, str(shard), "*"),)
    mine = _sorted(stream, str(shard), "*")
    return (mine, *stream.subjects) if shard == UNSORTED_READER else (mine,)


def _sorted(stream: StreamSpec, shard: str, name: str) -> str:
    [pattern] = stream.subjects
    return f"{pattern.removesuffix('*')}{shard}.{name}"
