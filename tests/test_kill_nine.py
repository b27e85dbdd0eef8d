"""kill -9 in the middle of a sync: each service, nats-server and PostgreSQL in turn, on one platform with three devices.

After every kill one checker looks at everything (`fixtures.invariants`). Each test says what was certainly unfinished when the
kill came, so that none passes because nothing was under way.
"""

import asyncio
import contextlib
import hashlib
import io
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.fixtures.invariants import Confirmed, check_invariants, eventually, query, rejects, waiting
from tests.fixtures.working import working
from zb.office import Refused
from zb.play.export import PROFILE, READY
from zb.play.stage import Stage, in_thread, until
from zb.postgres import Postgres

EVENTS_BETWEEN = 12
KILLS = 2
PHOTO_SIZE = (2400, 1600)
CUT_IN_S = (0.004, 0.02, 0.06)
WAIT_S = 60.0


@pytest.fixture(scope="module")
async def told(crew: Stage) -> Confirmed:
    """What was confirmed since the module began: every test adds to it, every check looks at all of it."""
    return Confirmed(rejects=await rejects(crew))


async def test_field_ingest_killed_while_receipts_are_outstanding(crew: Stage, told: Confirmed) -> None:
    async with working(crew, "ben", told) as pace:
        for _ in range(KILLS):
            await pace.more(EVENTS_BETWEEN)
            crew.stack.services["field-ingest"].kill()
            await pace.more(EVENTS_BETWEEN)
            assert await pace.outstanding() >= EVENTS_BETWEEN
            await in_thread(crew.stack.restart, "field-ingest")
    await check_invariants(crew, told)


async def test_nats_server_killed_while_segments_are_published(crew: Stage, told: Confirmed) -> None:
    async with working(crew, "chloe", told) as pace:
        for _ in range(KILLS):
            await pace.more(EVENTS_BETWEEN)
            crew.stack.nats.kill()
            await pace.more(EVENTS_BETWEEN)
            assert await pace.outstanding() >= EVENTS_BETWEEN
            await in_thread(crew.stack.nats.start)
    await check_invariants(crew, told)


async def test_postgresql_killed_while_events_are_admitted(crew: Stage, told: Confirmed) -> None:
    async with working(crew, "ben", told) as pace:
        await pace.more(EVENTS_BETWEEN)
        port = crew.stack.postgres.port
        await in_thread(kill_all_of, crew.stack.postgres.data_dir / "cluster")
        await pace.more(EVENTS_BETWEEN)
        assert await pace.outstanding() >= EVENTS_BETWEEN
        await in_thread(Postgres(crew.stack.postgres.data_dir, port=port).start)
        await revived(crew)
    await check_invariants(crew, told)


async def test_scheduling_killed_with_commands_in_its_outbox(crew: Stage, told: Confirmed) -> None:
    intervention = crew.chosen["moved"]
    crew.stack.nats.kill()
    for minute in (5, 10, 15):
        moved = await crew.command(intervention, "move", planned_start=crew.story.text(15, minute))
    assert await waiting(crew, "scheduling") >= 3
    last = asyncio.create_task(crew.command(intervention, "cancel", reason="in the middle of it"))
    await asyncio.wait({last}, timeout=CUT_IN_S[0])
    crew.stack.services["scheduling"].kill()
    (cancelled,) = await asyncio.gather(last, return_exceptions=True)
    assert isinstance(cancelled, dict | httpx.HTTPError | Refused)
    await in_thread(crew.stack.nats.start)
    await in_thread(crew.stack.restart, "scheduling")
    await check_invariants(crew, told)
    state = (await crew.state(intervention))["state"]
    assert state["fields"]["planned_start"]["value"] == moved["planned_start"]
    board = await crew.board(intervention)
    assert (board["status"] == "cancelled") is (state["status"] == "cancelled")
    if isinstance(cancelled, dict):
        assert state["status"] == "cancelled"  # it was confirmed


async def test_media_killed_while_photos_are_uploaded(crew: Stage, told: Confirmed, tmp_path: Path) -> None:
    chloe = crew.handhelds["chloe"]
    (first, *_) = await chloe.call("list")
    cable = crew.networks["chloe"].cables["media"]
    files = told.files.setdefault(first["intervention"], set())
    for number in range(KILLS):
        photo = tmp_path / f"{number}.jpg"
        photo.write_bytes(noise())
        before = cable.bytes_up
        taken = await chloe.call("attach", intervention=first["intervention"], photo=str(photo), label=f"photo {number}")
        told.events.add(taken["id"])
        files.add(taken["sha256"])
        assert taken["sha256"] == hashlib.sha256(photo.read_bytes()).hexdigest()
        await under_way(lambda before=before: cable.bytes_up > before + (1 << 20))  # type: ignore[misc]
        crew.stack.services["media"].kill()
        assert any(item["state"] != "admitted" for item in (await chloe.call("outbox", all=True))["media"])
        await in_thread(crew.stack.restart, "media")
    await check_invariants(crew, told)


async def test_the_bridge_killed_while_a_batch_is_made(crew: Stage, told: Confirmed) -> None:
    intervention = await closed_by_ana(crew, told)
    url = crew.url("billing-bridge", f"profiles/{PROFILE}/batches")
    person = crew.person("integrator")
    await in_thread(person.get, crew.url("billing-bridge", "batches"))  # its token is had before the moments count
    answers: list[Any] = []
    for cut_in_s in CUT_IN_S:
        making = asyncio.create_task(in_thread(person.post, url, {}))
        await asyncio.wait({making}, timeout=cut_in_s)
        crew.stack.services["billing-bridge"].kill()
        answers += await asyncio.gather(making, return_exceptions=True)
        await in_thread(crew.stack.restart, "billing-bridge")
    assert any(isinstance(answer, httpx.HTTPError) for answer in answers), "no kill came in the middle"
    with contextlib.suppress(Refused):
        await in_thread(person.post, url, {})
    with pytest.raises(Refused, match=r"billing\.nothing"):
        await in_thread(person.post, url, {})
    rows = await query(crew, "billing-bridge", "SELECT intervention::text, batch FROM billing.export")
    assert [(row["intervention"], row["batch"]) for row in rows] == [(intervention, 1)]
    state = await crew.merged("the export stands in the ledger", intervention, lambda state: bool(state["exports"]))
    assert len(state["exports"]) == 1

    async def delivered() -> bool:
        (row,) = await query(crew, "billing-bridge", "SELECT delivered_at_ms FROM billing.batch")
        return row["delivered_at_ms"] is not None

    await eventually("the batch is delivered", delivered)
    await check_invariants(crew, told)


# --- means ---


async def closed_by_ana(stage: Stage, told: Confirmed) -> str:
    """An intervention that ana has begun and done, and that waits for its batch."""
    held = {one["intervention"] for one in await stage.hero.call("list")}
    intervention = stage.chosen["cancelled"]
    assert intervention in held
    for event, body in (("started", {}), ("done", {"work_done": "Essais faits."})):
        made = await stage.hero.call("record", type=f"intervention.{event}.v1", intervention=intervention, body=body)
        told.events.add(made["id"])

    def ready() -> bool:
        rows = stage.person("integrator").get(stage.url("billing-bridge", "waiting"))
        return any(row["intervention"] == intervention and row["reason"] == READY for row in rows)

    await until("the closed intervention waits for its batch", ready)
    return intervention


async def revived(stage: Stage) -> None:
    """Services that gave up without their database are started again, as a supervisor would."""
    for name, service in stage.stack.services.items():
        if not service.is_running:
            await in_thread(stage.stack.restart, name)
    for service in stage.stack.services.values():
        await in_thread(service.wait_ready)


async def under_way(holds: Any) -> None:
    """Return in the very turn of the loop in which `holds` is true: the relays run in this loop."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, "no upload came"
        await asyncio.sleep(0)


def noise() -> bytes:
    """A JPEG of some megabytes, another one each time."""
    out = io.BytesIO()
    Image.effect_noise(PHOTO_SIZE, 90).convert("RGB").save(out, "JPEG", quality=97)
    return out.getvalue()


def kill_all_of(cluster: Path) -> None:
    """SIGKILL to each process that works in this folder, as when the power goes; returns when all are gone."""
    deadline = time.monotonic() + WAIT_S
    while victims := [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _works_in(pid, cluster)]:
        assert time.monotonic() < deadline, f"{victims} do not die"
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _works_in(pid: int, folder: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == folder
    except OSError:
        return False
