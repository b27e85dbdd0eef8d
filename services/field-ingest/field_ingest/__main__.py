"""The command line of field-ingest: serve, migrate, audit, rejects, dead letters. Settings come from ZB_INGEST_*.

A refusal to start is one sentence and exit code 1; a settings fault names its key, exit code 2. It does nothing itself. What
serves is imported by the commands that serve: it takes longer than all that the others do.
"""

import json
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import click

from field_ingest.admission import rejects
from field_ingest.admission.dead_letter_commands import deadletters
from field_ingest.audit.browse_command import browse_command
from field_ingest.audit.commands import COMMANDS
from field_ingest.config import MIGRATIONS, ROLES, SERVICE, Settings
from field_ingest.ledger.checkpoints import LedgerBehind
from field_ingest.ledger.founding import AuthorKeyDiffers, ShardCountDiffers
from field_ingest.ledger.heal_commands import heads_command, heal_command
from field_ingest.ledger.keyring import KeysUnusable, read_keys
from field_ingest.ledger.ledger_keys import NoKeyInForce
from field_ingest.ledger.shards import chosen
from field_ingest.ledger.verifying import verify_ledger
from field_ingest.projection.repartition import partitions_command
from field_ingest.proof.commands import export_command, log_command, split_views_command
from zb_chassis import command_line
from zb_chassis.config import load
from zb_chassis.database import Pool, open_pool
from zb_chassis.migrate import upgrade

OWN = (AuthorKeyDiffers, KeysUnusable, LedgerBehind, NoKeyInForce, ShardCountDiffers)
"""What stops a command here, beside the chassis' own refusals, as one sentence."""

T = TypeVar("T")


@click.group()
def main() -> None:
    """Admission, the ledger and the projection of the merged state."""


@main.command()
@click.option("--roles", default=",".join(ROLES), show_default=True, help="What this process does, separated by commas.")
@click.option("--shards", metavar="0,1", help="Which shards this process admits (default: ZB_INGEST_ADMISSION_SHARDS, else all).")
def serve(roles: str, shards: str | None) -> None:
    """Serve until SIGTERM."""
    from field_ingest import app

    wanted = frozenset(role.strip() for role in roles.split(",") if role.strip())
    if not wanted or not wanted <= set(ROLES):
        raise click.BadParameter(f"roles are {', '.join(ROLES)}", param_hint="--roles")
    settings = load(Settings)
    if shards is not None:
        try:
            chosen(shards, settings.shards)
        except ValueError as fault:
            raise click.BadParameter(str(fault), param_hint="--shards") from fault
        settings = settings.model_copy(update={"admission_shards": shards})
    _run(app.run(settings, wanted))


@main.command("warden")
def warden_command() -> None:
    """Cut the sessions that were ended, until SIGTERM. Settings come from ZB_WARDEN_*."""
    from field_ingest.devices import warden

    _run(warden.run(load(warden.Settings)))


@main.command()
def migrate() -> None:
    """Bring the database to this version."""
    for name in _run(upgrade(load(Settings).database_url, MIGRATIONS)):
        click.echo(f"applied {name}")


main.add_command(partitions_command)
main.add_command(heal_command)
main.add_command(heads_command)


@main.group()
def audit() -> None:
    """Check the ledger, and what was made of it."""


for _command in (*COMMANDS, browse_command, export_command, log_command, split_views_command):
    audit.add_command(_command)


@audit.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def verify(as_json: bool) -> None:
    """Check every row, signature, chain, position, tile and the root. Exit code 1 when anything is wrong."""
    settings = load(Settings)

    async def work(pool: Pool) -> Any:
        async with pool.acquire() as connection:
            return await verify_ledger(connection, read_keys(settings.keys_dir))

    report = _run(_with_pool(settings, work))
    if as_json:
        click.echo(json.dumps(report.as_json()))
    else:
        click.echo("\n".join(report.lines()))
    sys.exit(0 if report.sound else 1)


main.add_command(deadletters)


@main.group("rejects")
def rejects_group() -> None:
    """What was set aside as unsigned or misplaced."""


@rejects_group.command("list")
@click.option("--subject", help="Only of this subject.")
def list_rejects(subject: str | None) -> None:
    """The newest samples, one JSON object a line."""

    async def work(pool: Pool) -> list[dict[str, Any]]:
        async with pool.acquire() as connection:
            return await rejects.listed(connection, subject=subject)

    for row in _run(_with_pool(load(Settings), work)):
        click.echo(json.dumps(row))


async def _with_pool(settings: Settings, work: Callable[[Pool], Awaitable[T]]) -> T:
    pool = await open_pool(settings.database_url, application_name=f"{SERVICE}-cli", size_max=2)
    try:
        return await work(pool)
    finally:
        await pool.close()


def _run(work: Coroutine[Any, Any, T]) -> T:
    return command_line.run(work, *OWN)


if __name__ == "__main__":
    main(prog_name=f"python -m {__package__}")
