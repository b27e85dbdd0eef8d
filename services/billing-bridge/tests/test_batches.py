"""Batches on a real database: gapless numbers, frozen bytes, signed events, whatever crashes, comes twice or comes at once."""

import asyncio
import csv
import hashlib
import io
from pathlib import Path
from typing import Any

import pytest

from billing_bridge import store
from billing_bridge.config import MIGRATIONS
from billing_bridge.delivery import write_batch
from billing_bridge.profiles import PROFILES
from zb_chassis.catalogue import schema_differences
from zb_chassis.database import open_pool
from zb_chassis.migrate import CHASSIS_MIGRATIONS
from zb_contracts.announcements import BatchAnnounced
from zb_contracts.events import read_body
from zb_contracts.events.office import BillingExported
from zb_contracts.problems import BILLING_FILE_DIFFERS, BILLING_LAYOUT, BILLING_NOTHING, EXISTS_DIFFERENT, Problem


async def problem_of(awaitable: Any) -> Problem:
    with pytest.raises(Problem) as refused:
        await awaitable
    return refused.value


async def test_a_closed_intervention_becomes_a_numbered_batch_with_events_and_files(bridge: Any, story: Any) -> None:
    await bridge.hear(story.state(1, story.part("SEAL-12", "2")))
    frozen = await bridge.export()
    assert (frozen.row.batch, frozen.row.interventions, frozen.row.lines) == (1, 1, 3)
    assert (frozen.row.net_cents, frozen.row.vat_cents) == (2_468 + 6_000 + 4_500, 494 + 600 + 900)
    await bridge.delivery.deliver("erp", 1)
    files = bridge.files()
    assert sorted(files) == ["erp-00000001.csv", "erp-00000001.done", "erp-00000001.txt"]
    sums = dict(reversed(line.split("  ")) for line in files["erp-00000001.done"].decode().splitlines())
    assert sums == {name: hashlib.sha256(files[name]).hexdigest() for name in ("erp-00000001.txt", "erp-00000001.csv")}
    (event,) = await bridge.signed()
    body = read_body(event.header.type, event.signed.body)
    assert isinstance(body, BillingExported)
    assert (body.profile, body.batch, body.kind) == ("erp", 1, "invoice")
    assert (event.header.stream, event.header.seen) == (f"intervention:{story.id(1)}", {"dev-1": 7, "office-main": 3})


async def test_the_batch_is_announced_with_its_hashes(bridge: Any, story: Any) -> None:
    await bridge.hear(story.state())
    frozen = await bridge.export()
    payload = await bridge.pool.fetchval("SELECT payload FROM chassis.outbox WHERE subject = 'billing.v1.erp'")
    told = BatchAnnounced.model_validate_json(payload)
    assert (told.batch, told.interventions, told.total_cents) == (1, (story.id(1),), 10_500 + 1_500)
    assert {file.name: file.sha256 for file in told.files} == {file.name: file.sha256 for file in frozen.files}


async def test_control_totals_are_those_of_the_lines(bridge: Any, story: Any) -> None:
    for number in range(1, 6):
        await bridge.hear(story.state(number, story.part("PIPE", f"{number}.25"), story.part("SEAL-12", str(number))))
    frozen = await bridge.export()
    content = frozen.files[1].content.decode()
    _, *lines, trailer = list(csv.reader(io.StringIO(content, newline=""), delimiter=";"))

    def cents(value: str) -> int:
        return int(value.replace(",", ""))

    net, vat = sum(cents(line[13]) for line in lines), sum(cents(line[15]) for line in lines)
    assert (int(trailer[2]), int(trailer[3])) == (5, len(lines))
    assert [cents(value) for value in trailer[4:]] == [net, vat, net + vat]
    fixed_trailer = frozen.files[0].content.decode("iso8859-15").split("\r\n")[-2]
    assert [int(fixed_trailer[start : start + 16]) for start in (21, 37, 53)] == [net, vat, net + vat]


async def test_exported_again_nothing_is_new_and_no_number_is_taken(bridge: Any, story: Any) -> None:
    await bridge.hear(story.state())
    await bridge.export()
    assert (await problem_of(bridge.export())).kind is BILLING_NOTHING
    # The export comes back as a newer version of the state: still nothing to bill.
    await bridge.hear(story.state())
    assert (await problem_of(bridge.export())).kind is BILLING_NOTHING
    await bridge.hear(story.state(2))
    assert (await bridge.export()).row.batch == 2


async def test_a_late_change_is_a_numbered_adjustment_and_the_exports_add_up(bridge: Any, story: Any) -> None:
    await bridge.hear(story.state(1, story.part("PIPE", "1")))
    first = await bridge.export()
    await bridge.hear(story.state(1, story.part("PIPE", "4")))
    second = await bridge.export()
    assert (second.row.batch, second.row.lines, second.row.net_cents) == (2, 1, 999)
    assert b";A;part;PIPE;" in second.files[1].content
    kinds = [read_body(event.header.type, event.signed.body).kind for event in await bridge.signed()]
    assert kinds == ["invoice", "adjustment"]
    await bridge.hear(story.state(1, story.part("PIPE", "1")))
    assert first.row.net_cents + second.row.net_cents + (await bridge.export()).row.net_cents == first.row.net_cents


async def test_evidence_and_state_come_in_any_order(bridge: Any, story: Any) -> None:
    photo, other = story.photo(), story.photo()
    await bridge.hear_evidence(story.id(1), 2, photo)
    await bridge.hear(story.state(1, photo))
    await bridge.hear(story.state(2, other))
    await bridge.hear_evidence(story.id(2), 1, other, stored=False)
    # "Complete", but for an older state that did not name the second photo: not enough.
    await bridge.hear(story.state(3, story.photo()))
    await bridge.hear_evidence(story.id(3), 1)
    frozen = await bridge.export()
    assert frozen.interventions == (story.id(1),)
    assert [one.intervention for one in frozen.left_out] == [story.id(2), story.id(3)]
    await bridge.hear_evidence(story.id(2), 2, other)
    await bridge.hear_evidence(story.id(2), 1, other, stored=False)
    assert (await bridge.export()).interventions == (story.id(2),)


async def test_an_older_announcement_changes_nothing(bridge: Any, story: Any) -> None:
    await bridge.hear(story.state(1, story.part("PIPE", "2")), version=5)
    await bridge.hear(story.state(status="in_progress"), version=4)
    assert (await bridge.export()).row.lines == 3


async def test_a_version_of_reference_data_never_changes(bridge: Any, story: Any) -> None:
    await bridge.hear_prices(story.prices())
    assert (await problem_of(bridge.hear_prices(story.prices(labour=1)))).kind is EXISTS_DIFFERENT
    await bridge.hear_contracts(2, story.contract(erp_account="NEW"))
    await bridge.hear_contracts(2, story.contract(erp_account="NEW"))
    await bridge.hear_contracts(1, story.contract(erp_account="OLD"))
    assert (await problem_of(bridge.hear_contracts(2, story.contract(erp_account="OTHER")))).kind is EXISTS_DIFFERENT
    await bridge.hear(story.state(1, contract="C-1"))
    assert b";NEW;" in (await bridge.export()).files[1].content


async def test_one_intervention_that_does_not_fit_delays_no_other(bridge: Any, story: Any) -> None:
    await bridge.hear(story.state(1, reference="R" * 40))
    alone = await problem_of(bridge.export())
    assert alone.kind is BILLING_LAYOUT
    assert "line 1, reference" in str(alone)
    await bridge.hear(story.state(2))
    frozen = await bridge.export()
    assert (frozen.row.batch, frozen.interventions) == (1, (story.id(2),))
    assert "reference" in frozen.left_out[0].reason


async def test_a_crash_before_the_commit_leaves_nothing_and_no_gap(bridge: Any, story: Any) -> None:
    await bridge.hear(story.state())
    # The last write of the transaction fails: the outbox refuses.
    await bridge.pool.execute("ALTER TABLE chassis.outbox ADD CONSTRAINT broken CHECK (subject NOT LIKE 'billing.%')")
    with pytest.raises(Exception, match="broken"):
        await bridge.export()
    for table in (
        "billing.batch",
        "billing.batch_file",
        "billing.export",
        "billing.settled",
        "billing.knowledge",
        "chassis.outbox",
    ):
        assert await bridge.pool.fetchval(f"SELECT count(*) FROM {table}") == 0, table
    await bridge.pool.execute("ALTER TABLE chassis.outbox DROP CONSTRAINT broken")
    assert (await bridge.export()).row.batch == 1
    assert len(await bridge.signed()) == 1


async def test_a_crash_after_the_commit_delivers_the_same_bytes_later(bridge: Any, story: Any) -> None:
    await bridge.hear(story.state())
    frozen = await bridge.export()
    # Nothing was delivered before the crash; the clock has moved on since.
    bridge.now[0] += 86_400_000
    assert await bridge.delivery.deliver_waiting() == 0
    assert {name: data for name, data in bridge.files().items() if not name.endswith(".done")} == {
        file.name: file.content for file in frozen.files
    }
    assert await store.undelivered(bridge.pool, 10) == []


async def test_delivered_twice_is_delivered_once(bridge: Any, story: Any) -> None:
    await bridge.hear(story.state())
    await bridge.export()
    await asyncio.gather(*(bridge.delivery.deliver("erp", 1) for _ in range(4)))
    before = bridge.files()
    await bridge.delivery.deliver("erp", 1)
    assert bridge.files() == before
    assert len(before) == 3


async def test_a_delivery_cut_off_before_the_marker_goes_on(bridge: Any, story: Any) -> None:
    await bridge.hear(story.state())
    frozen = await bridge.export()
    folder = bridge.out / "erp"
    folder.mkdir(parents=True)
    (folder / ".erp-00000001.txt.dead.part").write_bytes(b"half")
    (folder / frozen.files[0].name).write_bytes(frozen.files[0].content)
    await bridge.delivery.deliver("erp", 1)
    assert {"erp-00000001.txt", "erp-00000001.csv", "erp-00000001.done"} <= set(bridge.files())


async def test_a_file_with_other_bytes_stops_the_delivery_and_is_left_alone(bridge: Any, story: Any) -> None:
    await bridge.hear(story.state())
    await bridge.export()
    strange = bridge.out / "erp" / "erp-00000001.csv"
    strange.parent.mkdir(parents=True)
    strange.write_bytes(b"somebody else's")
    assert (await problem_of(bridge.delivery.deliver("erp", 1))).kind is BILLING_FILE_DIFFERS
    assert strange.read_bytes() == b"somebody else's"
    assert "erp-00000001.done" not in bridge.files()
    assert "erp-00000001.csv" in (await store.find_batches(bridge.pool, limit=1))[0].fault
    strange.unlink()
    assert await bridge.delivery.deliver_waiting() == 0
    assert (await store.find_batches(bridge.pool, limit=1))[0].fault is None


async def test_a_file_that_the_erp_fetched_is_not_put_back(bridge: Any, story: Any) -> None:
    await bridge.hear(story.state())
    await bridge.export()
    await bridge.delivery.deliver("erp", 1)
    (bridge.out / "erp" / "erp-00000001.txt").unlink()
    assert await bridge.delivery.compare("erp") == 1
    assert await bridge.delivery.deliver_waiting() == 0
    assert "erp-00000001.txt" not in bridge.files()
    (bridge.out / "erp" / "erp-00000001.csv").write_bytes(b"changed")
    assert (await problem_of(bridge.delivery.compare("erp"))).kind is BILLING_FILE_DIFFERS


async def test_exporters_at_once_bill_once_and_leave_no_gap(bridge: Any, story: Any) -> None:
    for number in range(1, 4):
        await bridge.hear(story.state(number))
        results = await asyncio.gather(*(bridge.export() for _ in range(4)), return_exceptions=True)
        made = [result for result in results if not isinstance(result, BaseException)]
        assert [result.row.batch for result in made] == [number]
        assert {result.code for result in results if isinstance(result, Problem)} == {"billing.nothing"}
    assert await bridge.pool.fetchval("SELECT array_agg(batch ORDER BY batch) FROM billing.batch") == [1, 2, 3]
    assert await bridge.pool.fetchval("SELECT count(*) FROM billing.export") == 3
    assert len(await bridge.signed()) == 3


async def test_a_rolled_back_number_is_given_again(bridge: Any, story: Any) -> None:
    async with bridge.pool.acquire() as connection:
        attempt = connection.transaction()
        await attempt.start()
        assert await store.lock_profile(connection, "erp") == 0
        await store.insert_batch(connection, store.BatchRow("erp", 1, 0, "EUR", 0, 0, 0, 0), [])
        await attempt.rollback()
    await bridge.hear(story.state())
    assert (await bridge.export()).row.batch == 1


async def test_seen_never_shrinks_even_when_the_ledger_was_rewound(bridge: Any, story: Any) -> None:
    await bridge.hear(story.state(1, story.part("PIPE", "1")))
    await bridge.export()
    shorter = story.state(1, story.part("PIPE", "2"))
    shorter.vector.pop("office-main")
    shorter.vector["billing-bridge"] = 1
    await bridge.hear(shorter)
    await bridge.export()
    assert [event.header.seen for event in await bridge.signed()] == [{"dev-1": 7, "office-main": 3}] * 2


async def test_many_interventions_are_many_events_in_order(bridge: Any, story: Any) -> None:
    for number in range(1, 151):
        await bridge.hear(story.state(number))
    frozen = await bridge.export()
    assert frozen.row.interventions == 150
    assert len(await bridge.signed()) == 150
    assert await bridge.pool.fetchval("SELECT count(*) FROM chassis.outbox WHERE subject LIKE 'office.%'") == 3


async def test_over_http(bridge: Any, story: Any) -> None:
    integrator = {"Authorization": "Bearer integrator"}
    await bridge.hear(story.state(1))
    await bridge.hear(story.state(2, price_list="PL-1999"))
    waiting = (await bridge.http.get("/v1/waiting", headers=integrator)).json()
    assert [(one["reference"], one["reason"] == "ready") for one in waiting] == [("LEAKY-1", True), ("LEAKY-2", False)]
    refused = await bridge.http.post("/v1/profiles/erp/batches", headers={"Authorization": "Bearer dispatcher"})
    assert (refused.status_code, refused.json()["code"]) == (403, "access.forbidden")
    made = await bridge.http.post("/v1/profiles/erp/batches", headers=integrator)
    assert (made.status_code, made.json()["batch"], made.json()["total_cents"]) == (201, 1, 12_000)
    assert made.json()["delivered_at"] == "2026-03-16T18:00:00.000Z"
    nothing = await bridge.http.post("/v1/profiles/erp/batches", headers=integrator)
    assert (nothing.status_code, nothing.json()["code"]) == (409, "billing.nothing")
    (listed,) = (await bridge.http.get("/v1/batches", headers=integrator)).json()
    assert (listed["batch"], listed["fault"]) == (1, None)
    for file in made.json()["files"]:
        got = await bridge.http.get(f"/v1/batches/erp/1/files/{file['name']}", headers=integrator)
        assert hashlib.sha256(got.content).hexdigest() == file["sha256"]
        assert got.content == bridge.files()[file["name"]]
    for path in ("/v1/batches/erp/9/files/x", "/v1/batches/erp/1/files/x", "/v1/batches/nobody/1/files"):
        assert (await bridge.http.get(path, headers=integrator)).status_code == 404
    assert (await bridge.http.post("/v1/profiles/nobody/batches", headers=integrator)).status_code == 404
    assert (await bridge.http.get(f"/v1/batches/erp/{10**30}/files", headers=integrator)).status_code == 422


async def test_a_folder_that_cannot_be_written_delays_delivery_not_the_batch(bridge: Any, story: Any) -> None:
    await bridge.hear(story.state())
    bridge.out.write_bytes(b"a file where the folder should be")
    made = await bridge.http.post("/v1/profiles/erp/batches", headers={"Authorization": "Bearer integrator"})
    assert (made.status_code, made.json()["delivered_at"]) == (201, None)
    assert made.json()["fault"]
    bridge.out.unlink()
    assert await bridge.delivery.deliver_waiting() == 0
    assert len(bridge.files()) == 3


async def test_a_batch_of_all_agencies_is_nobodys_of_one(bridge: Any, story: Any) -> None:
    await bridge.hear(story.state())
    for method, path in (
        ("POST", "profiles/erp/batches"),
        ("POST", "profiles/erp/batches/1/deliveries"),
        ("GET", "waiting"),
        ("GET", "batches"),
        ("GET", "batches/erp/1/files"),
        ("GET", "batches/erp/1/files/erp-1.csv"),
    ):
        refused = await bridge.http.request(method, f"/v1/{path}", headers={"Authorization": "Bearer integrator/north"})
        assert (refused.status_code, refused.json()["code"]) == (403, "access.wrong_agency"), path
    assert bridge.files() == {}


def test_the_marker_comes_after_the_files(tmp_path: Path) -> None:
    files = [store.FileRow("a.txt", "0" * 64, b"one"), store.FileRow("b.csv", "1" * 64, b"two")]
    assert [path.name for path in write_batch(tmp_path, files, "a.done")] == ["a.txt", "b.csv", "a.done"]
    assert list(tmp_path.glob(".*")) == []


def test_profiles_are_named_as_they_are_kept() -> None:
    assert (
        [profile.rules.profile for profile in PROFILES.values()]
        == [profile.name for profile in PROFILES.values()]
        == list(PROFILES)
    )


async def test_the_schema_and_the_migrations_build_the_same(empty_database: str) -> None:
    pool = await open_pool(empty_database, application_name="billing-schema")
    async with pool.acquire() as connection:
        assert await schema_differences(connection, MIGRATIONS, after=[CHASSIS_MIGRATIONS]) == []
    await pool.close()
