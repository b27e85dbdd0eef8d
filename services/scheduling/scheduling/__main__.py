"""The command line of scheduling: `serve` and `migrate`. A refusal to start is one sentence that says what to do."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

import click

from scheduling import app
from scheduling.config import MIGRATIONS, Settings
from scheduling.keys import KeysUnusable
from zb_chassis.broker import BrokerRefused
from zb_chassis.claims import ClaimError
from zb_chassis.config import load
from zb_chassis.database import DatabaseUnreachable
from zb_chassis.lifecycle import TaskDied
from zb_chassis.migrate import MigrationError, upgrade

REFUSALS = (KeysUnusable, BrokerRefused, ClaimError, DatabaseUnreachable, MigrationError, TaskDied)


@click.group()
def main() -> None:
    """Plans and replans: the office's commands, decided and signed."""


@main.command()
def serve() -> None:
    """Serve HTTP and messages until SIGTERM; migrates its database first."""
    _run(app.run(load(Settings)))


@main.command()
def migrate() -> None:
    """Bring the database to what this version needs, and name what was applied."""

    async def apply() -> None:
        for name in await upgrade(load(Settings).database_url, MIGRATIONS):
            click.echo(name)

    _run(apply())


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        asyncio.run(work)
    except REFUSALS as refusal:
        click.echo(str(refusal), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
