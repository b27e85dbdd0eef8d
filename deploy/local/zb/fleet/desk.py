"""An administrator's desk: who calls field-ingest of the platform that runs here, and how answers are shown.

It knows paths and options that all fleet commands share, and no rule.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from rich.console import Console
from rich.table import Column, Table

from zb.office import Person
from zb.running import running, someone
from zb.stack import INGEST, StackError
from zb_contracts.printable import printable

ADMINISTRATOR: Final = "administrator"
WIDTH: Final = 150

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Desk:
    """A person, and the platform of a folder."""

    person: Person
    run: dict[str, Any]
    home: Path

    @classmethod
    def of(cls, folder: Path, name: str) -> "Desk":
        """The desk of a local person, while the command runs. StackError where no platform runs or nobody is called so."""
        home = folder / "up"
        run = running(home)
        if name not in json.loads((home / "keys" / "people.json").read_text()):
            raise StackError(f"nobody is called {name} here: zb fleet administrator makes one")
        person = someone(home, run, name)
        click.get_current_context().call_on_close(person.close)
        return cls(person, run, home)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.run['ports'][INGEST]}/v1/{path}"

    def get(self, path: str, **query: Any) -> Any:
        """The answer; values that are None are left out of the query."""
        return self.person.get(self.url(path), **{name: value for name, value in query.items() if value is not None})

    def post(self, path: str, body: object) -> Any:
        return self.person.post(self.url(path), body)

    def post_csv(self, path: str, data: bytes, **query: str) -> Any:
        return self.person.post_csv(self.url(path), data, **query)

    def put(self, path: str, body: object) -> Any:
        return self.person.put(self.url(path), body)

    def delete(self, path: str) -> Any:
        return self.person.call("DELETE", self.url(path))


def at_desk(command: F) -> F:
    """The options of every fleet command: on whose behalf, and in which form the answer is printed."""
    command = click.option("--json", "as_json", is_flag=True, help="the whole answer as one JSON object")(command)
    return click.option("--as", "name", default=ADMINISTRATOR, show_default=True, help="which local person acts")(command)


def show_json(answer: object) -> None:
    click.echo(json.dumps(answer))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table with a line each; None is an empty cell. The first cell is what the next command is told: it is never cut."""
    cells = [["" if value is None else printable(str(value)) for value in row] for row in rows]
    table = Table(Column(columns[0], no_wrap=True, min_width=max((len(row[0]) for row in cells), default=0)), *columns[1:])
    for row in cells:
        table.add_row(*row)
    _console().print(table)


def say(text: str) -> None:
    """One line or several; nothing in it moves the cursor."""
    for line in text.split("\n"):
        _console().print(printable(line))


def _console() -> Console:
    # Made when it prints: a pipe has no width of its own, and a test reads what a command printed.
    console = Console(highlight=False, soft_wrap=True, markup=False)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, markup=False, width=WIDTH)
