"""`heal` and `heads`: what a person types after the ledger lost rows. The work is `healing`'s.

Neither needs the broker, and `heal` must not run beside the service: it would change the ledger under it.
"""

import json
from typing import Any

import click

from field_ingest.config import MIGRATIONS, SERVICE, Settings
from field_ingest.ledger import healing
from field_ingest.ledger.checkpoints import Checkpoints, LedgerBehind
from field_ingest.ledger.healing import NothingToHeal
from field_ingest.ledger.keyring import KeysUnusable, read_keys
from field_ingest.ledger.signing import LedgerAuthor
from zb_chassis import command_line, migrate
from zb_chassis.clock import clock_of
from zb_chassis.config import load
from zb_chassis.database import open_pool
from zb_contracts.healing import Healing

REASON_CHARACTERS_MAX = 500


@click.command("heal")
@click.option("--accept-loss", is_flag=True, required=True, help="Go on from the rows that are there; it is never undone.")
@click.option("--restored", is_flag=True, help="The database is from a backup, and no file says what was published since.")
@click.option("--reason", default="restored from a backup", show_default=True, help="For the event that stays in the ledger.")
def heal_command(*, accept_loss: bool, restored: bool, reason: str) -> None:
    """Accept that the ledger lost its newest rows. The service must not run; devices and offices send again at its start.

    The last line is one JSON object.
    """
    settings = load(Settings)
    said = command_line.run(_heal(settings, reason[:REASON_CHARACTERS_MAX], restored), KeysUnusable, LedgerBehind, NothingToHeal)
    for one in said:
        lost = "an unknown number of" if one.abandoned is None else str(one.abandoned - one.kept)
        click.echo(f"{one.origin} goes on from {one.kept} rows; {lost} published rows are abandoned")
    click.echo(json.dumps({"healed": [{"origin": one.origin, "number": one.number, "kept": one.kept} for one in said]}))


async def _heal(settings: Settings, reason: str, restored: bool) -> list[Healing]:
    keys = read_keys(settings.keys_dir)
    await migrate.upgrade(settings.database_url, MIGRATIONS)
    clock = clock_of(settings.clock_file)
    pool = await open_pool(settings.database_url, application_name=f"{SERVICE}-cli", size_max=2)
    try:
        checkpoints = Checkpoints(keys.ledger, settings.data_dir, clock)
        author = LedgerAuthor(keys.ingest, clock)
        return await healing.accept_loss(pool, checkpoints, keys.ledger.signing, author, clock, reason=reason, restored=restored)
    finally:
        await pool.close()


@click.command("heads")
def heads_command() -> None:
    """Of each server-side author the newest event that the ledger has: one JSON object a line."""
    for row in command_line.run(_heads(load(Settings))):
        click.echo(json.dumps(row))


async def _heads(settings: Settings) -> list[dict[str, Any]]:
    pool = await open_pool(settings.database_url, application_name=f"{SERVICE}-cli", size_max=1)
    try:
        rows = await pool.fetch("SELECT author, mark, head_hash FROM authors WHERE kind <> 'device' ORDER BY author")
    finally:
        await pool.close()
    return [{"author": row["author"], "seq": row["mark"], "hash": row["head_hash"].hex()} for row in rows]
