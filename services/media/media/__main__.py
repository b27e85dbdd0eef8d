"""The command line of media: `python -m media serve | migrate | check | openapi`. Settings come from ZB_MEDIA_* variables."""

import asyncio
import json
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import click

from media import app
from media.config import SERVICE, Settings
from media.devices import SignerUnusable
from media.files import FileStore
from media.uploads import Uploads
from zb_chassis import logs, telemetry
from zb_chassis.broker import BrokerLost, BrokerRefused
from zb_chassis.claims import ClaimError
from zb_chassis.clock import clock_of
from zb_chassis.config import load
from zb_chassis.database import DatabaseUnreachable, open_pool
from zb_chassis.lifecycle import TaskDied
from zb_chassis.migrate import MigrationError
from zb_chassis.streams import StreamMissing

T = TypeVar("T")
# What stops a start or a command, as one sentence and exit code 1.
SENTENCES: Final = (
    BrokerLost,
    BrokerRefused,
    ClaimError,
    DatabaseUnreachable,
    SignerUnusable,
    MigrationError,
    StreamMissing,
    TaskDied,
)


@click.group()
def main() -> None:
    """The evidence store: photos and signatures, addressed by hash."""


@main.command()
def serve() -> None:
    """Run the service until SIGTERM."""
    settings = load(Settings)
    logs.configure(SERVICE, form=settings.log_format, level=settings.log_level)
    telemetry.configure(SERVICE)
    _run(app.serve(settings))


@main.command()
def migrate() -> None:
    """Bring the database up to date."""
    applied = _run(app.migrate(load(Settings)))
    click.echo("\n".join(applied) or "nothing to do")


@main.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    click.echo(json.dumps(app.openapi()))


@main.command()
def check() -> None:
    """Read every stored file again. One that is missing or damaged stops counting as stored; exit code 1 then."""
    damaged = _run(_check(load(Settings)))
    click.echo(json.dumps({"damaged": damaged}))
    if damaged:
        raise SystemExit(1)


async def _check(settings: Settings) -> list[str]:
    pool = await open_pool(settings.database_url, application_name=f"{SERVICE}-check")
    try:
        files = FileStore(settings.files_dir)
        return await Uploads(pool, files, settings.limits, clock_of(settings.clock_file)).check()
    finally:
        await pool.close()


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except SENTENCES as fault:
        raise click.ClickException(str(fault)) from fault


if __name__ == "__main__":
    main()
