"""A store made by any earlier version opens as one of today: the same tables, columns and indexes, the same rows."""

from importlib.resources import files
from pathlib import Path

import pytest

from zb_device.database import SCHEMA_VERSIONS, Connection, open_database

KEY = bytes(range(32))
FIRST = {"device": "device-1.sql", "read": "read-1.sql"}
EARLIER = [(schema, version) for schema in FIRST for version in range(1, SCHEMA_VERSIONS[schema])]


def made(path: Path, schema: str, version: int) -> None:
    """A store as the program of that version left it."""
    connection = open_database(path, KEY, schema)
    connection.executescript(Path(__file__).with_name(FIRST[schema]).read_text())
    for number in range(2, version + 1):
        script = files("zb_device").joinpath("sql", f"{schema}.{number}.sql").read_text()
        connection.executescript(f"begin;\n{script}\npragma user_version = {number};\ncommit;")
    connection.close()


def shape(connection: Connection) -> dict[str, object]:
    """Tables with their columns, in whatever order they came, and indexes as they were written."""
    found: dict[str, object] = {}
    for kind, name, text in connection.execute("select type, name, sql from sqlite_schema where sql is not null").fetchall():
        columns = connection.execute('select name, type, "notnull", dflt_value, pk from pragma_table_info(?)', (name,)).fetchall()
        found[name] = " ".join(text.split()) if kind == "index" else (sorted(columns), "without rowid" in text.lower())
    return found


@pytest.mark.parametrize(("schema", "version"), EARLIER)
def test_a_store_of_every_earlier_version_becomes_one_of_today(tmp_path: Path, schema: str, version: int) -> None:
    made(tmp_path / "old.db", schema, version)
    old, new = open_database(tmp_path / "old.db", KEY, schema), open_database(tmp_path / "new.db", KEY, schema)
    try:
        assert shape(old) == shape(new)
        assert old.execute("pragma user_version").fetchone() == (SCHEMA_VERSIONS[schema],)
    finally:
        old.close()
        new.close()
