"""The command line of the billing bridge: `python -m billing_bridge serve | migrate | export | catch-up`.

Settings come from ZB_BILLING_* variables. `export` works beside a running service: rows decide who makes which batch, and the
service's relay publishes what the export wrote.
"""

import json
from typing import Any

import click

from billing_bridge import api, app, store
from billing_bridge.authoring import KeyUnusable, random_uuid7, read_key
from billing_bridge.batches import Batches
from billing_bridge.config import SERVICE, Settings
from billing_bridge.delivery import Delivery
from billing_bridge.profiles import PROFILES, profile_of
from zb_chassis import logs, telemetry
from zb_chassis.clock import clock_of
from zb_chassis.command_line import run
from zb_chassis.config import load
from zb_chassis.database import open_pool, transaction
from zb_contracts.problems import BILLING_NOTHING, Problem


@click.group()
def main() -> None:
    """Closed interventions to numbered, reproducible ERP files."""


@main.command()
def serve() -> None:
    """Run the service until SIGTERM."""
    settings = load(Settings)
    logs.configure(SERVICE, form=settings.log_format, level=settings.log_level)
    telemetry.configure(SERVICE)
    run(app.serve(settings), KeyUnusable)


@main.command()
def migrate() -> None:
    """Bring the database up to date."""
    applied = run(app.migrate(load(Settings)), KeyUnusable)
    click.echo("\n".join(applied) or "nothing to do")


@main.command()
@click.option("--profile", type=click.Choice(sorted(PROFILES)), default="erp", show_default=True)
def export(profile: str) -> None:
    """Make and deliver the next batch; with nothing to bill, compare what was delivered. Prints one JSON object."""
    try:
        result = run(_export(load(Settings), profile), KeyUnusable)
    except Problem as problem:
        raise click.ClickException(f"{problem.code}: {problem}") from problem
    click.echo(json.dumps(result, ensure_ascii=False))


async def _export(settings: Settings, name: str) -> dict[str, Any]:
    profile, clock = profile_of(name), clock_of(settings.clock_file)
    pool = await open_pool(settings.database_url, application_name=f"{SERVICE}-export")
    try:
        delivery = Delivery(pool, settings.delivery_dir, clock)
        try:
            frozen = await Batches(pool, read_key(settings.keys_dir), clock, random_uuid7).make(profile)
        except Problem as problem:
            if problem.kind is not BILLING_NOTHING:
                raise
            return {"batch": None, "unchanged": await delivery.compare(name)}
        paths = await delivery.deliver(name, frozen.row.batch)
        return api.made_view(frozen, frozen.row).model_dump() | {"paths": [str(path) for path in paths]}
    finally:
        await pool.close()


@main.command("catch-up")
@click.argument("author")
@click.argument("seq", type=click.IntRange(min=1))
@click.argument("head_hash", metavar="HASH")
def catch_up(author: str, seq: int, head_hash: str) -> None:
    """After a loss: AUTHOR goes on from event SEQ with header HASH, which the ledger has, where that is further."""

    async def move() -> bool:
        pool = await open_pool(load(Settings).database_url, application_name=f"{SERVICE}-cli", size_max=1)
        try:
            async with transaction(pool) as connection:
                return await store.catch_up(connection, author, store.AuthorHead(seq, head_hash))
        finally:
            await pool.close()

    click.echo(f"{author} goes on from {seq}" if run(move(), KeyUnusable) else f"{author} is not behind")


if __name__ == "__main__":
    main()
