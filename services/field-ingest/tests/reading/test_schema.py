"""schema.sql and the migrations build the same database."""

import asyncpg

from field_ingest.config import OWN_MIGRATIONS
from zb_chassis.catalogue import schema_differences
from zb_chassis.migrate import CHASSIS_MIGRATIONS


async def test_schema_sql_is_what_the_migrations_build(empty_database: str) -> None:
    connection = await asyncpg.connect(empty_database)
    try:
        assert await schema_differences(connection, OWN_MIGRATIONS, after=[CHASSIS_MIGRATIONS]) == []
    finally:
        await connection.close()
