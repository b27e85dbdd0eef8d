"""What a database consists of, as sorted lines of text: the means to prove that two ways of building it agree.

Owns the description (columns, defaults, constraints, indexes, views, functions, triggers, types, sequences) and the
comparison of `schema.sql` with the migrations. The order of columns is left out: migrations append.
"""

from collections.abc import Sequence

from zb_chassis.database import Connection
from zb_chassis.migrate import MigrationSet

IGNORED_SCHEMAS = ("pg_catalog", "information_schema", "pg_toast", "migrations")

QUERIES = (
    """
    SELECT 'schema ' || nspname FROM pg_namespace
    WHERE nspname <> ALL ($1) AND NOT starts_with(nspname::text, 'pg_t')
    """,
    """
    SELECT format('column %s.%s %s %s%s%s%s%s', c.oid::regclass, a.attname, format_type(a.atttypid, a.atttypmod),
        CASE WHEN a.attnotnull THEN 'not null' ELSE 'null' END,
        ' default ' || pg_get_expr(d.adbin, d.adrelid), ' identity ' || nullif(a.attidentity::text, ''),
        ' generated ' || nullif(a.attgenerated::text, ''), ' storage ' || nullif(a.attstorage, t.typstorage)::text)
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE n.nspname <> ALL ($1) AND NOT starts_with(n.nspname::text, 'pg_t') AND c.relkind IN ('r', 'p', 'v', 'm')
        AND a.attnum > 0 AND NOT a.attisdropped
    """,
    """
    SELECT format('%s %s options %s', c.relkind, c.oid::regclass, c.reloptions)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname <> ALL ($1) AND NOT starts_with(n.nspname::text, 'pg_t') AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
    """,
    """
    SELECT format('constraint %s %s %s', o.conrelid::regclass, o.conname, pg_get_constraintdef(o.oid))
    FROM pg_constraint o JOIN pg_namespace n ON n.oid = o.connamespace WHERE n.nspname <> ALL ($1) AND o.conrelid <> 0
    """,
    """
    SELECT 'index ' || pg_get_indexdef(i.indexrelid)
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname <> ALL ($1) AND NOT starts_with(n.nspname::text, 'pg_t')
    """,
    """
    SELECT format('view %s %s', c.oid::regclass, pg_get_viewdef(c.oid))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname <> ALL ($1) AND c.relkind IN ('v', 'm')
    """,
    """
    SELECT 'function ' || pg_get_functiondef(p.oid)
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname <> ALL ($1) AND NOT starts_with(n.nspname::text, 'pg_t') AND p.prokind IN ('f', 'p')
    """,
    """
    SELECT 'trigger ' || pg_get_triggerdef(t.oid)
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname <> ALL ($1) AND NOT t.tgisinternal
    """,
    """
    SELECT format('enum %s %s', t.oid::regtype, array_agg(e.enumlabel ORDER BY e.enumsortorder))
    FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE n.nspname <> ALL ($1) GROUP BY t.oid
    """,
)


async def describe(connection: Connection) -> list[str]:
    """Every object outside the system's schemas and the migrations' own ledger, one sorted line each."""
    lines: list[str] = []
    for query in QUERIES:
        lines += [row[0] for row in await connection.fetch(query, IGNORED_SCHEMAS)]
    return sorted(lines)


async def schema_differences(connection: Connection, one: MigrationSet, *, after: Sequence[MigrationSet] = ()) -> list[str]:
    """What `schema.sql` builds and the migrations do not (`-`), and the reverse (`+`); empty when they agree.

    Builds both in transactions that are rolled back, on an empty database. `after` are sets that `one` stands on.
    """
    ground = [migration.text for other in after for migration in other.migrations()]
    wanted = await _built(connection, [*ground, one.schema()])
    found = await _built(connection, [*ground, *(migration.text for migration in one.migrations())])
    return [f"- {line}" for line in wanted if line not in found] + [f"+ {line}" for line in found if line not in wanted]


async def _built(connection: Connection, texts: Sequence[str]) -> list[str]:
    attempt = connection.transaction()
    await attempt.start()
    try:
        for text in texts:
            await connection.execute(text)
        return await describe(connection)
    finally:
        await attempt.rollback()
