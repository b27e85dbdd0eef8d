"""The way from a terminal to an export, to the logs' names and keys, and to what devices testified about them.

The last line is one JSON object; progress goes to standard error. What an export holds is `export`'s matter.
"""

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from field_ingest.audit.explain import stream_of
from field_ingest.config import SERVICE, Settings
from field_ingest.ledger.checkpoints import Checkpoints, LedgerBehind
from field_ingest.ledger.keyring import KeyRing, KeysUnusable, read_keys
from field_ingest.proof.export import Exported, Exporter, ExportRefused, Progress, Selection
from field_ingest.proof.logs import logs_of
from field_ingest.proof.split_views import split_views
from zb_chassis import command_line
from zb_chassis.clock import clock_of
from zb_chassis.config import load
from zb_chassis.database import open_pool
from zb_contracts.problems import Problem

_RANGE = re.compile(r"(\d{1,4}):(\d{1,18})-(\d{1,18})")


def _range(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Selection | None:
    if text is None:
        return None
    found = _RANGE.fullmatch(text)
    if found is None:
        raise click.BadParameter("give SHARD:FIRST-LAST, e.g. 0:100-250")
    shard, first, last = map(int, found.groups())
    return Selection(shard=shard, first=first, last=last)


@click.command("export")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--intervention", metavar="NUMBER", help="Only this one: its number, its id, or any stream.")
@click.option("--range", "part", metavar="SHARD:FIRST-LAST", callback=_range, help="Only these rows of a shard.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
def export_command(folder: Path, intervention: str | None, part: Selection | None, quiet: bool) -> None:
    """Write the ledger, or a part of it, to FOLDER, for somebody who does not trust us.

    FOLDER holds rows, tiles, checkpoints, keys, schemas, a page that explains them, and a program that verifies all of it off
    line: python FOLDER/verify_export.py FOLDER --root ROOT_KEY.
    """
    if intervention and part:
        raise click.UsageError("give --intervention or --range, not both")

    def show(done: int, total: int) -> None:
        if not quiet:
            click.echo(f"{done} of {total} rows", err=True)

    work = _export(load(Settings), folder, intervention, part, show)
    done = command_line.run(work, ExportRefused, KeysUnusable, LedgerBehind, Problem)
    click.echo(json.dumps(asdict(done) | {"folder": str(done.folder)}))


@click.command("log")
def log_command() -> None:
    """The logs, one a shard: origin, rows, and the verifier key that witnesses pin. One JSON object a line."""
    settings = load(Settings)
    for line in command_line.run(_logs(settings, read_keys(settings.keys_dir)), KeysUnusable):
        click.echo(json.dumps(line))


@click.command("split-views")
def split_views_command() -> None:
    """What devices testified about two histories of the ledger. One JSON object a line; exit code 1 when one is proven."""
    settings = load(Settings)
    told = command_line.run(_split_views(settings, read_keys(settings.keys_dir)), KeysUnusable)
    for line in told:
        click.echo(json.dumps(line))
    sys.exit(1 if any(line.get("proven") for line in told) else 0)


async def _split_views(settings: Settings, keys: KeyRing) -> list[dict[str, Any]]:
    pool = await open_pool(settings.database_url, application_name=f"{SERVICE}-cli", size_max=1)
    try:
        async with pool.acquire() as connection:
            return await split_views(connection, keys.ledger)
    finally:
        await pool.close()


async def _logs(settings: Settings, keys: KeyRing) -> list[dict[str, Any]]:
    pool = await open_pool(settings.database_url, application_name=f"{SERVICE}-cli", size_max=1)
    try:
        return await logs_of(pool, keys.ledger)
    finally:
        await pool.close()


async def _export(settings: Settings, folder: Path, intervention: str | None, part: Selection | None, show: Progress) -> Exported:
    keys, clock = read_keys(settings.keys_dir), clock_of(settings.clock_file)
    checkpoints = Checkpoints(keys.ledger, settings.data_dir, clock)
    pool = await open_pool(settings.database_url, application_name=f"{SERVICE}-cli", size_max=2)
    try:
        async with pool.acquire() as connection:
            await checkpoints.check_start(connection)
            selection = part or Selection(stream=await stream_of(connection, intervention) if intervention else None)
        exporter = Exporter(pool, checkpoints, keys, clock, log_name=settings.log_name, progress=show)
        return await exporter.export(folder, selection)
    finally:
        await pool.close()
