"""Gives the projection another number of partitions: all of them meet at the end of the ledger and are cut anew.

One transaction that holds every partition; workers wait for it and go on with the new ones. No state changes but those that
the ledger asks for anyway. Which stream lies in which partition is `partitions`' matter.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import click

from field_ingest.audit.commands import DATABASE
from field_ingest.projection import marks, states
from field_ingest.projection.partitions import PARTITIONS_MAX
from field_ingest.projection.ports import ReadStore
from field_ingest.projection.projector import Projector
from field_ingest.projection.scope_settings import ScopeSettings
from field_ingest.projection.store import PostgresReadStore
from zb_chassis.clock import system_clock
from zb_chassis.database import Connection


@click.command("partitions")
@DATABASE
@click.argument("count", type=click.IntRange(1, PARTITIONS_MAX))
def partitions_command(database_url: str, count: int) -> None:
    """Share the projection's streams out among COUNT partitions: as many workers can project at once.

    Workers that run wait meanwhile; what they are behind is projected first.
    """

    def make(store: ReadStore) -> Projector:
        return Projector(store, limits=ScopeSettings().scope_limits, clock=system_clock)

    before = asyncio.run(_on(database_url, make, count))
    click.echo(f"{count} partitions instead of {before}")


async def repartition(connection: Connection, make_projector: Callable[[ReadStore], Projector], of: int) -> int:
    """Cuts the projection into `of` partitions; how many there were. ValueError for a number that cannot be."""

    @asynccontextmanager
    async def lent() -> AsyncIterator[Connection]:
        yield connection

    async with connection.transaction(isolation="read_committed"):
        held = await connection.fetch(
            "SELECT partition FROM projection_partition WHERE projection = $1 ORDER BY partition FOR UPDATE", marks.PROJECTION
        )
        meeting = await states.ledger_sizes(connection)  # of one moment: no event below them lacks what it had seen
        projector = make_projector(PostgresReadStore(lent))
        while (await projector.step(until={row["partition"]: meeting for row in held})).passed:
            pass
        if any(one != meeting for one in (await marks.read_all(connection)).values()):
            raise RuntimeError("the partitions did not meet at the ledger's end")
        await connection.execute("DELETE FROM projection_partition WHERE projection = $1", marks.PROJECTION)
        await connection.execute("DELETE FROM partition_mark WHERE projection = $1", marks.PROJECTION)
        await marks.found(connection, of)
        await marks.move(connection, dict.fromkeys(range(of), meeting))
    return len(held)


async def _on(dsn: str, make_projector: Callable[[ReadStore], Projector], of: int) -> int:
    connection = await asyncpg.connect(dsn, server_settings={"application_name": "partitions", "timezone": "UTC"})
    try:
        return await repartition(connection, make_projector, of)
    finally:
        await connection.close()
