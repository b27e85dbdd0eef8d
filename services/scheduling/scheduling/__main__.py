"""The command line of scheduling: `serve`, `migrate`, and what is typed after a restore or a loss.

A refusal to start is one sentence that says what to do.
"""

import json

import click

from scheduling import app, store
from scheduling.config import CUSTODY_MIGRATIONS, MIGRATIONS, Settings
from scheduling.custody.journal import deletions
from scheduling.custody.vault import Vault
from scheduling.ids import random_uuid7
from scheduling.keys import Keyring, KeysUnusable
from zb_chassis.command_line import run
from zb_chassis.config import load
from zb_chassis.database import open_pool, transaction
from zb_chassis.devices import SignerUnusable
from zb_chassis.journal import JournalDamaged
from zb_chassis.migrate import upgrade


@click.group()
def main() -> None:
    """Plans and replans: the office's commands, decided and signed."""


@main.command()
def serve() -> None:
    """Serve HTTP and messages until SIGTERM; migrates its database first."""
    run(app.run(load(Settings)), KeysUnusable, SignerUnusable, JournalDamaged)


@main.command()
def migrate() -> None:
    """Bring the database to what this version needs, and name what was applied."""

    async def apply() -> None:
        settings = load(Settings)
        for name in await upgrade(settings.database_url, MIGRATIONS):
            click.echo(name)
        for name in await upgrade(settings.custody_url, CUSTODY_MIGRATIONS):
            click.echo(name)

    run(apply(), KeysUnusable)


@main.command("forget-again")
def forget_again() -> None:
    """Destroy again, in a restored database, the keys that the deletion ledger names. `serve` does it at each start."""

    async def play() -> None:
        settings = load(Settings)
        await upgrade(settings.custody_url, CUSTODY_MIGRATIONS)
        pool = await open_pool(settings.custody_url, application_name="forget-again")
        try:
            master = Keyring(settings.keys_dir).subjects_master
            lived = await Vault(pool, master, deletions(settings.data_dir), random_uuid7).forget_again()
        finally:
            await pool.close()
        click.echo(f"{lived} keys destroyed again")

    run(play(), KeysUnusable, JournalDamaged)


@main.command("catch-up")
@click.argument("author")
@click.argument("seq", type=click.IntRange(min=1))
@click.argument("head_hash", metavar="HASH")
def catch_up(author: str, seq: int, head_hash: str) -> None:
    """After a loss: AUTHOR goes on from event SEQ with header HASH, which the ledger has, where that is further."""

    async def move() -> bool:
        pool = await open_pool(load(Settings).database_url, application_name="catch-up", size_max=1)
        try:
            async with transaction(pool) as connection:
                return await store.catch_up(connection, author, store.AuthorHead(seq, head_hash))
        finally:
            await pool.close()

    click.echo(f"{author} goes on from {seq}" if run(move(), KeysUnusable) else f"{author} is not behind")


@main.command("lacking")
def lacking() -> None:
    """After a loss: interventions of the ledger that scheduling has no record of, one JSON object a line. Import them again."""

    async def read() -> list[dict[str, str | None]]:
        pool = await open_pool(load(Settings).database_url, application_name="lacking", size_max=1)
        try:
            async with pool.acquire() as connection:
                return [dict(row) | {"intervention": str(row["intervention"])} for row in await store.lacking(connection)]
        finally:
            await pool.close()

    for row in run(read(), KeysUnusable):
        click.echo(json.dumps(row))


if __name__ == "__main__":
    main()
