"""The auditor's commands of the read side: replay, diff, explain, state-hash. The last line of each is one JSON object.

Only the way from a terminal to `replay`, `past` and `explain`. `audit verify` (chains, signatures, root) is the
write side's.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import asyncpg
import click
import msgspec

from field_ingest.audit import moments
from field_ingest.audit.explain import current_state, explain_stream, stream_of
from field_ingest.audit.moments import NOW, Moment, MomentUnreadable
from field_ingest.audit.past import Difference, differences
from field_ingest.projection.ports import LedgerGap, ReadStore
from field_ingest.projection.projector import Projector
from field_ingest.projection.replay import WORKERS_MAX, Progress, Replayed, ReplayRefused, Wanted, live_hash, replay
from field_ingest.projection.scope_settings import ScopeSettings
from zb_chassis.clock import system_clock
from zb_chassis.collector import collect_rarely
from zb_contracts.merge.explanations import Explanation
from zb_contracts.merge.wording import Language
from zb_contracts.printable import printable
from zb_contracts.problems import Problem

DATABASE = click.option("--database-url", envvar="ZB_INGEST_DATABASE_URL", required=True, help="DSN of field-ingest's database.")


@click.command("replay")
@DATABASE
@click.option("--swap", is_flag=True, help="Put the rebuilt states in the place of the live ones.")
@click.option(
    "--known-at",
    metavar="POSITION|TIME",
    help="The past as it was known then: only what the ledger had received. SHARD:POSITION (with a comma for each further"
    " shard), or a time of receipt like 2026-11-23T10:00:00Z.",
)
@click.option(
    "--occurred-until",
    metavar="TIME",
    help="The past as it is known now: what happened by then (anchored time, else wall clock), whenever it was received.",
)
@click.option("--rules", type=int, default=NOW.rules, show_default=True, help="Version of the merge rules.")
@click.option("--signatures", is_flag=True, help="Verify every signature and body too.")
@click.option("--workers", type=click.IntRange(1, WORKERS_MAX), default=1, show_default=True, help="Processes.")
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
def replay_command(
    database_url: str,
    swap: bool,
    known_at: str | None,
    occurred_until: str | None,
    rules: int,
    signatures: bool,
    workers: int,
    quiet: bool,
) -> None:
    """Rebuild all states from the ledger in a shadow, and compare. Exit code 1 where they differ.

    A command that was killed is gone on with by the same command. Of a moment of the past the hash is told and compared with
    nothing: `--known-at` is what anybody could have known then, `--occurred-until` what is known of it by now.
    """
    try:
        moment = moments.known_at(known_at) if known_at else NOW
        moment = moments.occurred_until(occurred_until, moment) if occurred_until else moment
        wanted = Wanted(replace(moment, rules=rules), swap, signatures, workers)
        done = asyncio.run(_replay(database_url, wanted, quiet))
    except (ReplayRefused, MomentUnreadable, LedgerGap) as fault:
        raise click.ClickException(str(fault)) from fault
    click.echo(json.dumps(done.as_json()))
    if (done.same is False or done.quarantined) and not swap:
        sys.exit(1)


@click.command("diff")
@DATABASE
@click.argument("first")
@click.argument("second")
@click.option("--intervention", help="Only this one: its number, its id, or any stream.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a stream.")
def diff_command(database_url: str, first: str, second: str, intervention: str | None, as_json: bool) -> None:
    """Say what is different between two moments or two versions of the rules. Exit code 1 where anything is, 2 for no moment.

    A moment is `now`, SHARD:POSITION (with a comma for each further shard; up to and with it), a time of receipt
    (2026-11-23T10:00:00Z) or `occurred:TIME`; a version of the rules is `rules:1`. The first two kinds are the past as it was
    known then; `occurred:` is the past as it is known now.
    """
    try:
        sides = moments.read_moment(first), moments.read_moment(second)
        count = asyncio.run(_diff(database_url, sides, intervention, as_json))
    except MomentUnreadable as fault:
        raise click.UsageError(str(fault)) from fault
    except Problem as fault:
        raise click.ClickException(str(fault)) from fault
    click.echo(json.dumps({"first": sides[0].told(), "second": sides[1].told(), "different": count}))
    if count:
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
    return "\n    ".join(map(printable, [f"{decision.field}: {decision.sentence}", *decision.knew]))


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


COMMANDS = (replay_command, diff_command, explain_command, state_hash_command)
"""For the `audit` group of the service."""


async def _replay(dsn: str, wanted: Wanted, quiet: bool) -> Replayed:
    collect_rarely()
    limits = ScopeSettings().scope_limits

    def make(store: ReadStore) -> Projector:
        return Projector(store, limits=limits, clock=system_clock, announces=False)

    def show(progress: Progress) -> None:
        click.echo(
            f"{progress.rows} of {progress.total} rows, {progress.rows_per_s:.0f}/s, {progress.left_s:.0f} s left", err=True
        )

    return await replay(dsn, make, wanted, limits=limits, progress=(lambda _: None) if quiet else show)


async def _diff(dsn: str, sides: tuple[Moment, Moment], intervention: str | None, as_json: bool) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        stream = await stream_of(connection, intervention) if intervention else None
        count = 0
        async for one in differences(connection, *sides, stream):
            count += 1
            click.echo(msgspec.json.encode(one).decode() if as_json else "\n".join(_lines(one)))
        return count
    finally:
        await connection.close()


def _lines(difference: Difference) -> Iterator[str]:
    yield difference.stream
    for change in difference.changes:
        before, after = (msgspec.json.encode(value).decode() for value in (change.before, change.after))
        yield f"    {change.field}: {before} -> {after}" + (f"  because of {', '.join(change.because)}" if change.because else "")
    if not difference.changes:
        yield f"    the same in every field, by other events: {', '.join([*difference.come, *difference.gone])}"


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
