"""The dead letters at a terminal: list, show, retry, settle, export. Settings come from ZB_INGEST_*.

Only the way from a terminal to dead_letters.py. `--json` prints one JSON object a line; what is for people only (where a list
goes on, how far an export is) goes to standard error.
"""

import json
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO, Any, Final, TypeVar

import click
from nats.js import JetStreamContext

from field_ingest.admission import dead_letters
from field_ingest.admission.admitting import Admission, Done
from field_ingest.admission.dead_letters import NoSuchLetter, Wanted
from field_ingest.admission.verification import Verifier
from field_ingest.config import SERVICE, Settings
from field_ingest.ledger.anchors import Anchors
from field_ingest.ledger.keyring import KeysUnusable, read_keys
from field_ingest.ledger.postgres import PostgresLedger
from zb_chassis import command_line, logs
from zb_chassis.broker import connect
from zb_chassis.claims import Credentials
from zb_chassis.clock import clock_of, system_clock
from zb_chassis.config import load
from zb_chassis.database import Pool, open_pool
from zb_contracts.printable import printable

PAGE: Final = 100
TOLD_EVERY: Final = 500
"""Letters between two lines of progress of an export."""

T = TypeVar("T")

NUMBER = click.argument("number", type=click.IntRange(min=1))
SERVICE_ONLY = click.option("--service", help="Only of this service.")
CODE_ONLY = click.option("--code", help="Only with this code, e.g. system.internal.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@dataclass(frozen=True, slots=True)
class _Desk:
    """What a command works with."""

    settings: Settings
    pool: Pool
    jetstream: JetStreamContext


@click.group()
def deadletters() -> None:
    """Messages that no bounded number of tries could handle."""


@deadletters.command("list")
@SERVICE_ONLY
@CODE_ONLY
@click.option("--open", "only_open", is_flag=True, help="Only what nobody has dealt with.")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Go on behind this number.")
@click.option("--limit", type=click.IntRange(1, dead_letters.LIST_MAX), default=PAGE, show_default=True)
@AS_JSON
def list_letters(service: str | None, code: str | None, only_open: bool, after: int, limit: int, as_json: bool) -> None:
    """Number, age, service, code, tries, subject and reason of each, oldest first."""
    wanted = Wanted(service, code, after=after, only_open=only_open)

    async def work(desk: _Desk) -> list[dict[str, Any]]:
        dealt = await dead_letters.dealt_with(desk.pool)
        found = dead_letters.letters(desk.jetstream, wanted, dealt, limit=limit + 1)
        now_ms = system_clock()
        return [one.summary(now_ms) | {"became": dealt.get(one.number)} async for one in found]

    rows = _run(work)
    for row in rows[:limit]:
        click.echo(json.dumps(row) if as_json else _line(row))
    if len(rows) > limit:
        click.echo(f"more: --after {rows[limit - 1]['number']}", err=True)


@deadletters.command()
@NUMBER
@AS_JSON
def show(number: int, as_json: bool) -> None:
    """One dead letter with its headers and its body (base64)."""

    async def work(desk: _Desk) -> dict[str, Any]:
        found = await dead_letters.letter(desk.jetstream, number)
        return found.whole(system_clock()) | {"became": (await dead_letters.dealt_with(desk.pool)).get(number)}

    whole = _run(work)
    click.echo(json.dumps(whole) if as_json else json.dumps(whole, indent=2))


@deadletters.command()
@NUMBER
@AS_JSON
def retry(number: int, as_json: bool) -> None:
    """Give a dead letter of field-ingest to admission again. Exit code 1 unless it was decided."""

    async def work(desk: _Desk) -> Any:
        found = await dead_letters.letter(desk.jetstream, number)
        keys, clock = read_keys(desk.settings.keys_dir), clock_of(desk.settings.clock_file)
        with Verifier(keys.escrow) as verifier:
            admission = Admission(PostgresLedger(desk.pool), verifier, clock, anchors=Anchors(keys.ledger))
            return await dead_letters.retry(desk.pool, admission, found, clock)

    became = _run(work)
    told = dead_letters.told(became)
    click.echo(json.dumps({"number": number} | told) if as_json else f"{told['became']}: {told['detail']}")
    sys.exit(0 if isinstance(became, Done) else 1)


@deadletters.command()
@NUMBER
@click.option("--reason", required=True, help="What was done about it; kept.")
def settle(number: int, reason: str) -> None:
    """Note that a dead letter was dealt with by hand: it counts as open no more."""

    async def work(desk: _Desk) -> None:
        found = await dead_letters.letter(desk.jetstream, number)
        await dead_letters.settle(desk.pool, found, reason, clock_of(desk.settings.clock_file)())

    _run(work)
    click.echo(f"the dead letter {number} is settled: {reason}")


@deadletters.command()
@SERVICE_ONLY
@CODE_ONLY
@click.option("--open", "only_open", is_flag=True, help="Only what nobody has dealt with.")
@click.option("--output", type=click.File("w"), default="-", help="A file instead of standard output.")
def export(service: str | None, code: str | None, only_open: bool, output: IO[str]) -> None:
    """All of them with their bodies (base64), one JSON object a line."""
    wanted = Wanted(service, code, only_open=only_open)

    async def work(desk: _Desk) -> int:
        dealt, now_ms, written = await dead_letters.dealt_with(desk.pool), system_clock(), 0
        async for one in dead_letters.letters(desk.jetstream, wanted, dealt, limit=None):
            output.write(json.dumps(one.whole(now_ms) | {"became": dealt.get(one.number)}) + "\n")
            written += 1
            if written % TOLD_EVERY == 0:
                click.echo(f"{written} letters, up to number {one.number}", err=True)
        return written

    click.echo(f"{_run(work)} letters exported", err=True)


def _line(row: dict[str, Any]) -> str:
    place = f"{row['number']:>6}  {_age(row['age_s']):>5}  {row['service']:<15}  {row['code']:<20}  {row['tries']:>2} tries"
    return printable(f"{place}  {row['subject']}  {row['became'] or 'open'}  {row['reason']}")


def _age(seconds: int) -> str:
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {name}"
    return f"{seconds} s"


def _run(work: Any) -> Any:
    logs.configure(SERVICE, form="console", level="WARNING")  # to standard error: standard output is for another program to read

    async def on_a_desk() -> Any:
        async with _desk(load(Settings)) as desk:
            return await work(desk)

    return _ended(on_a_desk())


def _ended(work: Coroutine[Any, Any, T]) -> T:
    return command_line.run(work, KeysUnusable, NoSuchLetter)


@asynccontextmanager
async def _desk(settings: Settings) -> AsyncIterator[_Desk]:
    pool = await open_pool(settings.database_url, application_name=f"{SERVICE}-cli", size_max=2)
    try:
        client = await connect(settings.nats_url, Credentials.read(settings.nats_creds))
        try:
            yield _Desk(settings, pool, client.jetstream())
        finally:
            await client.close()
    finally:
        await pool.close()
