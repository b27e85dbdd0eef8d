"""A ledger that is there already: the corpus in the ledger's table, without admission, on a PostgreSQL of its own.

Rows lie as agencies that work side by side would have written them. Leaf hashes are no real ones: a replay reads none.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

import asyncpg
import psutil

from field_ingest.config import MIGRATIONS
from tests.bench.ledger.corpus import AgencyFiles, interleaved
from zb.keys import private_folder
from zb.postgres import Postgres
from zb_chassis import migrate
from zb_contracts.envelope import stored_header
from zb_contracts.keys import SigningKey
from zb_contracts.segment import decode_segment

DATABASE: Final = "field_ingest"
COPY_ROWS: Final = 5_000
SAY_ROWS: Final = 250_000
EVENT_BYTES: Final = 5_000
"""What an event takes on the disk: its row and indexes, its part of the states, sorting."""
COLUMNS: Final = (
    "shard", "position", "kind", "event_id", "author", "seq", "stream", "type", "header", "header_hash", "body", "signature",
    "received_at_ms", "facts", "leaf_hash", "chained",
)  # fmt: skip


class Filled:
    """The server with the filled ledger. `events` rows."""

    def __init__(self, folder: Path, agencies: list[AgencyFiles]) -> None:
        self.folder, self.agencies = folder.absolute(), agencies
        self.postgres = Postgres(self.folder / "postgres")
        self.dsn = ""
        self.events = 0

    @contextmanager
    def running(self) -> Iterator["Filled"]:
        """Started on an emptied folder; stopped and removed whatever happened."""
        self.postgres.stop()  # one that a run left that was killed
        shutil.rmtree(self.folder, ignore_errors=True)
        private_folder(self.folder)
        try:
            self.postgres.start()
            self.dsn = self.postgres.create_database(DATABASE)
            yield self
        finally:
            self.postgres.stop()
            shutil.rmtree(self.folder, ignore_errors=True)

    def postmaster(self) -> psutil.Process:
        """The server's first process, parent of all others."""
        pid = (self.folder / "postgres" / "cluster" / "postmaster.pid").read_text().splitlines()[0]
        return psutil.Process(int(pid))

    async def fill(self, say: Callable[[str], None]) -> None:
        """Migrations, authors, rows, once. Indexes are made when all rows are there, and the table is analysed, as
        autovacuum would have done; it needs no log, since it is thrown away."""
        if self.events:
            return
        await migrate.upgrade(self.dsn, MIGRATIONS)
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute("INSERT INTO shards (shard, origin, root, frontier) VALUES (0, 'bench', '', '')")
            await connection.executemany(
                """
                INSERT INTO authors (author, kind, agency, device, incarnation, event_key, shard, head_hash, registered_at_ms)
                VALUES ($1, $2, $3, $4, $5, $6, 0, $7, 0)
                """,
                [author for agency in self.agencies for author in _authors(agency)],
            )
            await connection.execute("ALTER TABLE ledger SET UNLOGGED")
            made = await connection.fetch(
                """
                SELECT indexname, indexdef FROM pg_indexes
                WHERE schemaname = current_schema() AND tablename = 'ledger' AND indexname <> 'ledger_pkey'
                """
            )
            await connection.execute(f"DROP INDEX {', '.join(index['indexname'] for index in made)}")
            await self._copy(connection, say)
            for index in made:
                await connection.execute(index["indexdef"])
            await connection.execute("UPDATE shards SET size = $1", self.events)
            await connection.execute("VACUUM (ANALYZE) ledger")
            say(f"the ledger is filled with {self.events:,} events")
        finally:
            await connection.close()

    async def _copy(self, connection: asyncpg.Connection, say: Callable[[str], None]) -> None:
        rows, said = self._rows(), 0
        while records := list(islice(rows, COPY_ROWS)):
            await connection.copy_records_to_table("ledger", records=records, columns=COLUMNS)
            self.events += len(records)
            if self.events // SAY_ROWS > said:
                said = self.events // SAY_ROWS
                say(f"  {self.events:,} rows")

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        position = 0
        for files in ([agency.office for agency in self.agencies], [agency.field for agency in self.agencies]):
            for segment in interleaved(files):
                for signed in decode_segment(segment.data):
                    header = stored_header(signed.header)
                    hashed = hashlib.sha256(signed.header).digest()
                    yield (
                        0, position, "admitted", header.id, header.author, header.seq, header.stream, header.type, signed.header,
                        hashed, signed.body, signed.signature, header.trusted_ms, b"{}", hashed, True,
                    )  # fmt: skip
                    position += 1


def _authors(agency: AgencyFiles) -> Iterator[tuple[Any, ...]]:
    office = SigningKey.from_seed(bytes.fromhex(agency.office_seed)).public
    yield f"office-{agency.name}", "office", agency.name, None, None, office, bytes(32)
    for device in agency.devices:
        yield device.author, "device", agency.name, device.device, 1, bytes.fromhex(device.public), bytes(32)
