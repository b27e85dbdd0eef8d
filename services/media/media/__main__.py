"""The command line of media: `python -m media serve | migrate | check`. Settings come from ZB_MEDIA_* variables."""

import json

import click

from media import app
from media.config import SERVICE, Settings
from media.files import FileStore
from media.handovers import Handovers
from media.uploads import Uploads
from zb_chassis import logs, telemetry
from zb_chassis.clock import clock_of, system_clock
from zb_chassis.command_line import run
from zb_chassis.config import load
from zb_chassis.database import open_pool
from zb_chassis.devices import SignerUnusable
from zb_chassis.journal import JournalDamaged


@click.group()
def main() -> None:
    """The evidence store: photos and signatures, addressed by hash."""


@main.command()
def serve() -> None:
    """Run the service until SIGTERM."""
    settings = load(Settings)
    logs.configure(SERVICE, form=settings.log_format, level=settings.log_level)
    telemetry.configure(SERVICE)
    run(app.serve(settings), SignerUnusable, JournalDamaged)


@main.command()
def migrate() -> None:
    """Bring the database up to date."""
    applied = run(app.migrate(load(Settings)), SignerUnusable)
    click.echo("\n".join(applied) or "nothing to do")


@main.command()
def check() -> None:
    """Read every stored file again. One that is missing or damaged stops counting as stored; exit code 1 then."""
    damaged = run(_check(load(Settings)), SignerUnusable)
    click.echo(json.dumps({"damaged": damaged}))
    if damaged:
        raise SystemExit(1)


@main.command()
def adopt() -> None:
    """After a loss of the database: count as stored what the disk holds, whole, and the database does not know."""
    click.echo(json.dumps({"adopted": run(_adopt(load(Settings)), SignerUnusable)}))


async def _adopt(settings: Settings) -> list[str]:
    pool = await open_pool(settings.database_url, application_name=f"{SERVICE}-adopt")
    try:
        files = FileStore(settings.files_dir)
        return await Uploads(
            pool, files, settings.limits, Handovers.read(settings.keys_dir, system_clock), clock_of(settings.clock_file)
        ).adopt()
    finally:
        await pool.close()


async def _check(settings: Settings) -> list[str]:
    pool = await open_pool(settings.database_url, application_name=f"{SERVICE}-check")
    try:
        files = FileStore(settings.files_dir)
        return await Uploads(
            pool, files, settings.limits, Handovers.read(settings.keys_dir, system_clock), clock_of(settings.clock_file)
        ).check()
    finally:
        await pool.close()


if __name__ == "__main__":
    main()
