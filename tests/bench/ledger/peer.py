"""The peer: the same events through eventsourcing's own Postgres recorder and projection runner, in the same run.

Synchronous psycopg over TCP, a transaction a segment, the runner as its documentation has it: an event, its state and its
tracking a transaction. It folds with our rules; it verifies no signature, checks no chain and writes no receipt.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID, uuid5

from eventsourcing.application import Application
from eventsourcing.domain import DomainEvent
from eventsourcing.persistence import StoredEvent, Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.sql import SQL

from tests.bench.ledger.corpus import AgencyFiles, read_segments
from tests.bench.ledger.machine import Machine
from zb_contracts.envelope import ParsedEvent, SignedEvent, parse_header
from zb_contracts.events import AuthorKind
from zb_contracts.merge.causality import merge_event
from zb_contracts.merge.fold import StreamFold
from zb_contracts.merge.state import state_bytes
from zb_contracts.segment import decode_segment

DATABASE: Final = "peer"
EVENTS: Final = 10_000
PROJECTED_S: Final = 600.0
STREAMS: Final = UUID("6f1d0b63-6d1e-4c0e-9f8f-0c3c7a1c7f0d")


@dataclass(frozen=True, slots=True)
class Peer:
    """Events a second, each step alone."""

    events: int
    recorded_per_s: float
    projected_per_s: float


@dataclass(frozen=True)
class Recorded(DomainEvent):
    """A signed event as the peer stores it. The texts are what the bytes are; the signature is hex."""

    stream: str
    header: str
    body: str
    signature: str


class Ledger(Application[UUID]):
    """The peer's application: its recorder is all that is used of it."""


class States(PostgresTrackingRecorder):
    """The peer's view: the state of each stream, written with the tracking."""

    def __init__(self, datastore: Any, **names: Any) -> None:
        super().__init__(datastore, **names)
        table = SQL("CREATE TABLE IF NOT EXISTS states (stream text PRIMARY KEY, state bytea NOT NULL)")
        self.sql_create_statements.append(table.format())

    def put(self, stream: str, state: bytes, tracking: Tracking) -> None:
        """One state and how far it has read, in one transaction."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute(
                "INSERT INTO states VALUES (%s, %s) ON CONFLICT (stream) DO UPDATE SET state = excluded.state", (stream, state)
            )


class Folding(Projection[States]):
    """Folds each event into its stream as it comes."""

    def __init__(self, view: States) -> None:
        super().__init__(view)
        self._folds: dict[str, StreamFold] = {}

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        fold = self._folds.setdefault(domain_event.stream, StreamFold(domain_event.stream))
        header = domain_event.header.encode()
        parsed = ParsedEvent(parse_header(header), b"", SignedEvent(header, domain_event.body.encode(), b""))
        kind = AuthorKind.OFFICE if parsed.header.author.startswith("office-") else AuthorKind.DEVICE
        fold.add(merge_event(parsed, kind))
        self.view.put(domain_event.stream, state_bytes(fold.state()), tracking)


def measure(machine: Machine) -> Peer:
    """Records and then projects the first events of the corpus. Blocks."""
    environment = _environment(machine.postgres.create_database(DATABASE))
    application = Ledger(environment)
    batches = list(_batches(machine.agencies[0], application))
    events = sum(map(len, batches))
    began = time.perf_counter()
    for batch in batches:
        application.recorder.insert_events(batch)
    recorded_s = time.perf_counter() - began
    last = application.recorder.max_notification_id()
    application.close()
    began = time.perf_counter()
    with ProjectionRunner(application_class=Ledger, projection_class=Folding, view_class=States, env=environment) as runner:
        runner.wait(last, timeout=PROJECTED_S)
        projected_s = time.perf_counter() - began
    return Peer(events, events / recorded_s, events / projected_s)


def _batches(agency: AgencyFiles, application: Ledger) -> Iterator[list[StoredEvent]]:
    """The agency's segments as the peer's stored events, the plans first, up to EVENTS events."""
    versions: dict[str, int] = defaultdict(int)
    events = 0
    for path in (agency.office, agency.field):
        for segment in read_segments(path):
            batch = []
            for signed in decode_segment(segment.data):
                stream = parse_header(signed.header).stream
                versions[stream] += 1
                event = Recorded(
                    originator_id=uuid5(STREAMS, stream),
                    originator_version=versions[stream],
                    timestamp=Recorded.create_timestamp(),
                    stream=stream,
                    header=signed.header.decode(),
                    body=signed.body.decode(),
                    signature=signed.signature.hex(),
                )
                batch.append(application.mapper.to_stored_event(event))
            yield batch
            events += len(batch)
            if events >= EVENTS:
                return


def _environment(dsn: str) -> dict[str, str]:
    place = urlsplit(dsn)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": place.path.removeprefix("/"),
        "POSTGRES_HOST": str(place.hostname),
        "POSTGRES_PORT": str(place.port),
        "POSTGRES_USER": str(place.username),
        "POSTGRES_PASSWORD": str(place.password),
    }
