"""A platform that lost a store gets back what others hold: the broker's, PostgreSQL's newest rows, or both at once.

One story on one platform, in the order of this file, with real devices: each loss finds work under way, and afterwards every
confirmed event is in the ledger and the states are those of before. Where a loss cannot be healed, it is said, signed, to all.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.invariants import Confirmed, check_invariants, eventually, query, waiting
from tests.fixtures.working import working
from zb.backup import back_up
from zb.heal import accept_loss
from zb.play.handheld import Handheld, HandheldRefused
from zb.play.morning import starts_at
from zb.play.stage import Stage, in_thread
from zb.processes import ServiceFailed
from zb.restore import restore_databases
from zb_contracts.notes import split_note

EVENTS = 12
SETTLE_S = 90.0
HEALED = "device.ledger_healed"


@pytest.fixture(scope="module")
def told() -> Confirmed:
    """What was confirmed since the module began."""
    return Confirmed()


@pytest.fixture(scope="module")
def backups(home: Path) -> Path:
    folder = home / "backups"
    folder.mkdir(mode=0o700)
    return folder


async def merged_states(stage: Stage) -> dict[str, str]:
    """Stream -> hash of its state, of everything but the devices' own streams: there the ledger speaks of itself."""
    await stage.projected()
    rows = await query(stage, "field-ingest", "SELECT stream, state_hash FROM states WHERE kind <> 'device'")
    return {row["stream"]: row["state_hash"].hex() for row in rows}


async def settled(stage: Stage) -> None:
    """Every device has the ledger's word on all that it recorded."""
    for technician, handheld in stage.handhelds.items():
        reached = await handheld.call("wait", until="settled", timeout_s=SETTLE_S)
        assert reached["reached"], f"{technician} is not settled: {reached['last_fault']}"


async def asked_again(stage: Stage) -> None:
    """Every device asks now: one that waits for nothing would ask within five minutes."""
    for handheld in stage.handhelds.values():

        async def heard(handheld: Handheld = handheld) -> bool:
            try:
                await handheld.call("sync")
            except HandheldRefused:  # the broker has just come back
                return False
            return True

        await eventually(f"{handheld.technician}'s device was answered", heard)


async def moved_to(stage: Stage, hour: int) -> None:
    """The dispatcher moves an intervention of chloe's day."""
    await stage.command(await of_the_day(stage), "move", planned_start=stage.story.text(hour, 0))


async def of_the_day(stage: Stage) -> str:
    (first, *_) = await stage.handhelds["chloe"].call("list")
    return str(first["intervention"])


async def arrived_at(stage: Stage, hour: int) -> None:
    """Return when that move is merged."""
    await stage.merged("the move is merged", await of_the_day(stage), starts_at(stage.story.text(hour, 0)))


async def ledger_ids(stage: Stage) -> set[str]:
    rows = await query(stage, "field-ingest", "SELECT event_id FROM ledger WHERE kind = 'admitted'")
    return {row["event_id"] for row in rows}


async def test_the_broker_loses_everything_and_it_comes_again(lost_crew: Stage, told: Confirmed) -> None:
    stage = lost_crew
    await settled(stage)
    stage.stack.services["field-ingest"].kill()
    async with working(stage, "ben", told) as pace:
        await pace.more(EVENTS)
    await moved_to(stage, 15)

    async def published() -> bool:
        status = await stage.handhelds["ben"].call("status")
        return status["events"]["queued"] == 0 and await waiting(stage, "scheduling") == 0

    # The broker took all of it, the ledger has none of it, and the broker is about to lose it.
    await eventually("ben's events and the office's are with the broker", published)
    assert (await stage.handhelds["ben"].call("status"))["events"]["received"] >= EVENTS
    assert not told.events & await ledger_ids(stage)
    await in_thread(stage.stack.stop)
    shutil.rmtree(stage.stack.folder / "nats")
    await in_thread(stage.stack.start)
    await check_invariants(stage, told)


async def test_the_database_is_lost_back_to_a_backup_and_all_comes_again(
    lost_crew: Stage, told: Confirmed, backups: Path
) -> None:
    stage, home = lost_crew, lost_crew.stack.folder
    await in_thread(back_up, home, backups / "first")
    for technician in ("ben", "chloe"):
        async with working(stage, technician, told) as pace:
            await pace.more(EVENTS)
    await moved_to(stage, 16)
    await arrived_at(stage, 16)
    await settled(stage)
    before, ids = await merged_states(stage), await ledger_ids(stage)

    await in_thread(stage.stack.stop)
    note = (home / "field-ingest" / "checkpoint-0.note").read_text()
    (home / "postgres").rename(home / "postgres.lost")
    await in_thread(restore_databases, backups / "first", home)
    with pytest.raises(ServiceFailed, match="zb heal --accept-loss"):
        await in_thread(stage.stack.start)
    await in_thread(accept_loss, home, "the disk broke", clock_file=stage.story.file)
    await in_thread(stage.stack.start)

    await asked_again(stage)
    await settled(stage)
    await eventually_same(stage, before)
    assert ids <= await ledger_ids(stage)
    (row,) = await said(stage)
    size = split_note(note)[0].splitlines()[1]
    assert (row["abandoned"], row["reason"]) == (int(size), "the disk broke")
    assert note == row["abandoned_note"]
    assert (home / "field-ingest" / f"abandoned-0-{size}.note").read_text() == note
    for technician in ("ben", "chloe"):
        problems = (await stage.handhelds[technician].call("status"))["problems"]
        assert [problem["code"] for problem in problems] == [HEALED]
    # The office goes on where the ledger is, not where its own backup was, and its board is not behind.
    await moved_to(stage, 17)
    await arrived_at(stage, 17)
    await nothing_refused(stage)


async def test_database_and_broker_are_lost_and_the_devices_have_it_all(lost_crew: Stage, told: Confirmed, backups: Path) -> None:
    stage, home = lost_crew, lost_crew.stack.folder
    await settled(stage)
    await in_thread(back_up, home, backups / "second")
    async with working(stage, "ana", told) as pace:
        await pace.more(EVENTS)
    await settled(stage)
    before, ids = await merged_states(stage), await ledger_ids(stage)

    await in_thread(stage.stack.stop)
    (home / "postgres").rename(home / "postgres.lost-again")
    shutil.rmtree(home / "nats")
    await in_thread(restore_databases, backups / "second", home)
    await in_thread(accept_loss, home, "the disk broke again", clock_file=stage.story.file)
    await in_thread(stage.stack.start)

    async def came_again() -> bool:
        return told.events <= await ledger_ids(stage)

    await asked_again(stage)
    await eventually("ana's device has sent again what the ledger lost", came_again)
    await settled(stage)
    missing = ids - await ledger_ids(stage)
    assert not missing, missing
    await eventually_same(stage, before)
    await nothing_refused(stage)


async def said(stage: Stage) -> list[dict[str, Any]]:
    """What the ledger says of its losses, in its own events."""
    sql = "SELECT convert_from(body, 'UTF8')::jsonb AS body FROM ledger WHERE type = 'device.ledger_healed.v1' ORDER BY position"
    return [json.loads(row["body"]) for row in await query(stage, "field-ingest", sql)]


async def eventually_same(stage: Stage, before: dict[str, str]) -> None:
    """The states are those of before the loss, and what the ledger makes of its events anew."""

    async def same() -> bool:
        return await merged_states(stage) == before

    async def all_folded() -> bool:
        (row,) = await query(stage, "field-ingest", "SELECT count(*) AS left FROM states WHERE rule_version = 0")
        return int(row["left"]) == 0

    await eventually("the states are those of before the loss", same)
    await eventually("every state was folded anew", all_folded)
    code, report = await in_thread(stage.run, "field-ingest", "audit", "verify", "--json")
    assert (code, report.get("sound")) == (0, True), report
    code, replayed = await in_thread(stage.run, "field-ingest", "audit", "replay", "--quiet")
    assert code == 0, json.dumps(replayed)


async def nothing_refused(stage: Stage) -> None:
    """No event was signed twice, none waits for what will never come."""
    assert await query(stage, "field-ingest", "SELECT author, seq, code FROM ledger WHERE kind = 'refusal'") == []
    assert await query(stage, "field-ingest", "SELECT author, stopped_code FROM authors WHERE stopped_seq IS NOT NULL") == []
