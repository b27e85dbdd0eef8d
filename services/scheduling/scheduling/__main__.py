"""The command line of scheduling: `serve` and `migrate`. A refusal to start is one sentence that says what to do."""

import click

from scheduling import app
from scheduling.config import MIGRATIONS, Settings
from scheduling.keys import KeysUnusable
from zb_chassis.command_line import run
from zb_chassis.config import load
from zb_chassis.migrate import upgrade


@click.group()
def main() -> None:
    """Plans and replans: the office's commands, decided and signed."""


@main.command()
def serve() -> None:
    """Serve HTTP and messages until SIGTERM; migrates its database first."""
    run(app.run(load(Settings)), KeysUnusable)


@main.command()
def migrate() -> None:
    """Bring the database to what this version needs, and name what was applied."""

    async def apply() -> None:
        for name in await upgrade(load(Settings).database_url, MIGRATIONS):
            click.echo(name)

    run(apply(), KeysUnusable)


if __name__ == "__main__":
    main()
