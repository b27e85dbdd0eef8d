"""The auditor's commands of the read side: replay, explain, state-hash. The last line of each is one JSON object.

Only the way from a terminal to `replay` and `explain`. `audit verify` (chains, signatures, Merkle root) is the write side's.
"""

import asyncio
import json
import sys
from typing import Any

import asyncpg
import click
import msgspec

from field_ingest.explain import current_state, explain_stream, stream_of
from field_ingest.projector import Projector
from field_ingest.read_ports import ReadStore
from field_ingest.replay import Progress, Replayed, ReplayRefused, live_hash, replay
from field_ingest.scope_settings import ScopeSettings
from zb_chassis.clock import system_clock
from zb_contracts.merge.explanations import Explanation
from zb_contracts.merge.wording import Language
from zb_contracts.problems import Problem

DATABASE = click.option("--database-url", envvar="ZB_INGEST_DATABASE_URL", required=True, help="DSN of field-ingest's database.")


@click.command("replay")
@DATABASE
@click.option("--swap", is_flag=True, help="Put the rebuilt states in the place of the live ones.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
def replay_command(database_url: str, swap: bool, quiet: bool) -> None:
    """Rebuild all states from the ledger in a shadow and compare. Exit code 1 where they differ."""
    try:
        done = asyncio.run(_replay(database_url, swap, quiet))
    except ReplayRefused as fault:
        raise click.ClickException(str(fault)) from fault
    click.echo(json.dumps(done.as_json()))
    if not done.same and not swap:
        sys.exit(1)


@click.command("explain")
@DATABASE
@click.argument("intervention")
@click.option("--field", "field", help="Only the decisions on this field; a wrong name lists them all.")
@click.option("--language", type=click.Choice(["fr", "en"]), default="fr", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a decision.")
def explain_command(database_url: str, intervention: str, field: str | None, language: Language, as_json: bool) -> None:
    """Say why the state of INTERVENTION (its number, its id, or any stream) is what it is.

    Rule, winner, what was set aside; and below each decision its events with what each had seen of the other.
    """
    try:
        decisions = asyncio.run(_explain(database_url, intervention, field, language))
    except Problem as fault:
        raise click.ClickException(str(fault)) from fault
    for decision in decisions:
        click.echo(msgspec.json.encode(decision).decode() if as_json else _told(decision))


def _told(decision: Explanation) -> str:
    return "\n    ".join([f"{decision.field}: {decision.sentence}", *decision.knew])


@click.command("state-hash")
@DATABASE
@click.argument("stream", required=False)
@click.option("--snapshot", help="Of all states as another session's exported snapshot (pg_export_snapshot) shows them.")
def state_hash_command(database_url: str, stream: str | None, snapshot: str | None) -> None:
    """The hash over all states, or that of one stream."""
    try:
        click.echo(json.dumps(asyncio.run(_state_hash(database_url, stream, snapshot))))
    except Problem as fault:
        raise click.ClickException(str(fault)) from fault


COMMANDS = (replay_command, explain_command, state_hash_command)
"""For the `audit` group of the service."""


async def _replay(dsn: str, swap: bool, quiet: bool) -> Replayed:
    limits = ScopeSettings().scope_limits

    def make(store: ReadStore) -> Projector:
        return Projector(store, limits=limits, clock=system_clock, announces=False)

    def show(progress: Progress) -> None:
        click.echo(f"{progress.rows} of {progress.total} rows, {progress.rows_per_s:.0f}/s", err=True)

    return await replay(dsn, make, swap=swap, progress=(lambda _: None) if quiet else show)


async def _explain(dsn: str, name: str, field: str | None, language: Language) -> list[Explanation]:
    connection = await asyncpg.connect(dsn)
    try:
        return await explain_stream(connection, await stream_of(connection, name), field, language)
    finally:
        await connection.close()


async def _state_hash(dsn: str, stream: str | None, snapshot: str | None) -> dict[str, Any]:
    connection = await asyncpg.connect(dsn)
    try:
        if stream is None:
            total = await live_hash(connection, snapshot)
            return {"streams": total.streams, "state_hash": total.state_hash}
        current = await current_state(connection, stream)
        return {"stream": stream, "version": current.row.version, "state_hash": current.row.state_hash.hex()}
    finally:
        await connection.close()
