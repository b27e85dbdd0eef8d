"""A ledger of two shards, the admission of each in a process of its own: enrolment, a killed shard, checkpoints, the audit."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from field_ingest.ledger.shards import shard_of
from zb_contracts.notes import NoteVerifier, verify_checkpoint
from zb_contracts.sealed import from_base64url

SHARDS = 2


@pytest.fixture
async def pair(office: Any, new_device: Callable[..., Any]) -> list[Any]:
    """A device of each shard, by number."""
    found: dict[int, Any] = {}
    while len(found) < SHARDS:
        device = new_device()
        await device.enrol(office)
        found.setdefault(device.answer["shard"], device)
    return [found[shard] for shard in range(SHARDS)]


async def test_a_device_learns_its_shard_and_the_origin_of_its_log(pair: list[Any]) -> None:
    for shard, device in enumerate(pair):
        assert shard_of(device.answer["device"], SHARDS) == shard
        assert (device.answer["shard"], device.answer["shards"]) == (shard, SHARDS)
        assert device.answer["log_origin"].endswith(f"/{shard}")


async def test_every_incarnation_of_a_device_has_its_shard(office: Any, pair: list[Any], new_device: Callable[..., Any]) -> None:
    for shard, device in enumerate(pair):
        for number in (2, 3):
            reborn = new_device()
            await reborn.enrol(office, device=device.answer["device"])
            assert (reborn.answer["author"], reborn.answer["shard"]) == (f"{device.answer['device']}-i{number}", shard)


async def test_a_killed_shard_stops_no_other_and_goes_on_where_it_was(office: Any, service: Any, pair: list[Any]) -> None:
    clients = [await device.connect(office) for device in pair]
    service.admitting[1].kill()
    service.admitting[1].wait()
    for device, client in zip(pair, clients, strict=True):
        await device.send(client, device.pen.writes(3))
    await office.until_mark(pair[0].answer["author"], 3)
    assert (await office.mark(pair[1].answer["author"]))["mark"] == 0
    service.admit(1)
    await office.until_mark(pair[1].answer["author"], 3)
    for client in clients:
        await client.close()


async def test_two_processes_may_share_a_shard(office: Any, service: Any, pair: list[Any]) -> None:
    before = service.admitting[0]
    service.admit(0)
    second, service.admitting[0] = service.admitting[0], before
    try:
        client = await pair[0].connect(office)
        for _ in range(10):
            await pair[0].send(client, pair[0].pen.writes(2))
        await office.until_mark(pair[0].answer["author"], 20)
        await client.close()
    finally:
        second.terminate()
        second.wait()


async def test_each_shard_has_its_checkpoint_of_its_own_origin(office: Any, pair: list[Any]) -> None:
    for shard, device in enumerate(pair):
        answer = await office.ask("auditor", "GET", f"/v1/checkpoints/latest?shard={shard}")
        origin = device.answer["log_origin"]
        ledger_key = from_base64url(device.answer["keys"][0]["public"])
        assert verify_checkpoint(answer.json()["note"], origin, [NoteVerifier(origin, ledger_key)]).size == answer.json()["size"]


async def test_the_audit_reads_every_shard_and_the_projection_follows_all(office: Any, service: Any, pair: list[Any]) -> None:
    for device in pair:
        client = await device.connect(office)
        await device.send(client, device.pen.writes(2))
        await office.until_mark(device.answer["author"], 2)
        await client.close()
    done = service.run("audit", "verify", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    sizes = {}
    for shard in range(SHARDS):
        sizes[str(shard)] = (await office.ask("auditor", "GET", f"/v1/checkpoints/latest?shard={shard}")).json()["size"]
    report = json.loads(done.stdout)
    assert report["rows"] == sum(sizes.values())
    replayed = service.run("audit", "replay")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr


async def test_a_start_with_another_number_of_shards_is_refused_with_a_sentence(service: Any) -> None:
    service.environment["ZB_INGEST_SHARDS"] = "3"
    try:
        done = service.run("serve", "--roles", "api")
    finally:
        service.environment["ZB_INGEST_SHARDS"] = str(SHARDS)
    assert done.returncode == 1
    assert "founded with 2 shards and the settings say 3" in done.stderr
    assert "Traceback" not in done.stderr


async def test_shards_that_do_not_exist_are_refused_by_the_name_of_the_setting(service: Any) -> None:
    done = service.run("serve", "--roles", "admission", "--shards", "2")
    assert (done.returncode, "the ledger has the shards 0 to 1" in done.stderr) == (2, True)
    service.environment["ZB_INGEST_ADMISSION_SHARDS"] = "0,7"
    try:
        done = service.run("serve", "--roles", "admission")
    finally:
        del service.environment["ZB_INGEST_ADMISSION_SHARDS"]
    assert done.returncode == 2
    assert done.stderr.startswith("ZB_INGEST_ADMISSION_SHARDS: ")
