"""Erasing on a real PostgreSQL: the key goes and stays gone, the events stay as they were, and every refusal has its name."""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from scheduling.config import CUSTODY_MIGRATIONS, OWN_MIGRATIONS
from scheduling.custody.erasure import Erasure
from scheduling.custody.journal import Deletion, deletions
from scheduling.custody.policy import DAY_MS, Purpose, period_of
from scheduling.custody.vault import Vault
from scheduling.ids import id_of, uuid7
from scheduling.intake import import_sites
from zb_chassis.catalogue import schema_differences
from zb_chassis.journal import JournalDamaged
from zb_chassis.migrate import CHASSIS_MIGRATIONS
from zb_contracts.announcements import PicturesErased
from zb_contracts.events.custody import SubjectErased
from zb_contracts.events.places import SiteRegistered
from zb_contracts.faults import SealBroken
from zb_contracts.problems import SUBJECT_ERASED, SUBJECT_HELD, SUBJECT_NOT_HELD, SUBJECT_RETAINED, SUBJECT_UNKNOWN, Problem
from zb_contracts.sealed import open_sealed_value

SITE = id_of("site", "main", "A-1")
PICTURE = "5a" * 32
FILE = b"reference;name;town;country;contact;access_code\nA-1;Alexanderplatz;Berlin;DE;Frau Weber 0151 1;4711B\n"


async def imported(office: Any) -> str:
    """A site with a contact; the name of its key."""
    await import_sites(office.desk, "main", "integrator-1", FILE, "all-or-nothing")
    return str((await office.desk.vault.subject(SITE)).keys[0].kid)


async def refused(attempt: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        await attempt
    return caught.value


async def test_what_is_erased_is_readable_never_again_and_its_event_stays_as_it_was(office: Any) -> None:
    kid = await imported(office)
    erasure, before = Erasure(office.desk), await office.signed()
    report = await erasure.erase(SITE, "administrator-1")
    assert (report.living, [key.kid for key in report.destroyed]) == ((), [kid])
    assert {(use.stream, use.field) for use in report.destroyed[0].uses} == {
        (f"site:{SITE}", "contact"),
        (f"site:{SITE}", "access_code"),
    }
    *after, word = await office.signed()
    assert [event.signed for event in after] == [event.signed for event in before]
    assert (word.header.stream, word.header.actor) == ("device:office-main", "administrator-1")
    registered, said = await office.bodies()
    assert said == SubjectErased(subject=SITE, kids=(kid,), cause="request")
    # A new key for the same subject opens nothing of before.
    new = await office.desk.vault.key(SITE, "main", Purpose.CONTACT, office.now[0])
    assert isinstance(registered, SiteRegistered)
    assert registered.contact is not None
    with pytest.raises(SealBroken):
        open_sealed_value(new.key, before[0].header.id, "contact", registered.contact)
    assert await office.pool.fetchval("SELECT count(*) FROM scheduling.personal") == 0


async def test_every_refusal_is_named_and_destroys_nothing(office: Any) -> None:
    vault, erasure = office.desk.vault, Erasure(office.desk)
    assert (await refused(erasure.erase("nobody", None))).kind is SUBJECT_UNKNOWN
    await imported(office)
    assert (await refused(vault.lift(SITE))).kind is SUBJECT_NOT_HELD
    await vault.hold(SITE, "case-7", office.now[0])
    await vault.hold(SITE, "case-7", office.now[0] + 1)
    held = await refused(erasure.erase(SITE, None))
    assert (held.kind, held.details["case"], held.details["since"]) == (SUBJECT_HELD, "case-7", "2026-03-16T09:00:00.000Z")
    assert (await refused(vault.hold(SITE, "case-8", office.now[0]))).kind is SUBJECT_HELD
    assert len((await erasure.report(SITE)).living) == 1
    await vault.lift(SITE)
    await erasure.erase(SITE, None)
    assert (await refused(erasure.erase(SITE, None))).kind is SUBJECT_ERASED
    assert len(await office.signed()) == 2


async def test_what_the_law_keeps_is_named_and_stays(office: Any) -> None:
    vault, erasure = office.desk.vault, Erasure(office.desk)
    await vault.key("customer-1", "main", Purpose.ACCOUNTING, office.now[0])
    retained = await refused(erasure.erase("customer-1", None))
    assert retained.kind is SUBJECT_RETAINED
    assert retained.details["until"].startswith("2036-03-1")
    assert "10 years" in retained.details["basis"]
    # Beside something that no law keeps: that goes, the other is named.
    await vault.key("customer-1", "main", Purpose.CONTACT, office.now[0])
    report = await erasure.erase("customer-1", None)
    assert [key.purpose for key in report.destroyed] == [Purpose.CONTACT]
    assert [key.purpose for key in report.kept] == [Purpose.ACCOUNTING]


async def test_positions_have_keys_by_the_week_that_end_by_themselves_unless_held(office: Any) -> None:
    vault, start = office.desk.vault, office.now[0]
    first = await vault.key("ana", "main", Purpose.POSITION, start)
    assert await vault.key("ana", "main", Purpose.POSITION, start + DAY_MS) == first
    assert (await vault.key("ana", "main", Purpose.POSITION, start + 7 * DAY_MS)).kid != first.kid
    proof = await vault.key("ana", "main", Purpose.SERVICE_POSITION, start)
    assert await vault.destroy_expired(start + 59 * DAY_MS) == ()
    await vault.hold("ana", "case-7", start)
    assert await vault.destroy_expired(start + 60 * DAY_MS) == ()
    await vault.lift("ana")
    assert await vault.destroy_expired(start + 60 * DAY_MS) == (first.kid,)
    assert proof.kid in await vault.destroy_expired(start + 365 * DAY_MS)
    await Erasure(office.desk).tell()
    assert {(body.subject, body.cause) for body in await office.bodies()} == {("ana", "expired")}


def test_a_week_begins_on_monday_and_no_position_outlives_its_time(office: Any) -> None:
    monday = office.now[0] - 9 * 3_600_000
    sunday = monday + 7 * DAY_MS - 1
    period = period_of(Purpose.POSITION, sunday)
    assert (period.name, period.expires_at_ms) == ("2026-03-16", monday + 60 * DAY_MS)


async def test_a_restored_database_forgets_again(office: Any) -> None:
    kid = await imported(office)
    rows = await office.custody.fetch("SELECT * FROM custody.subject_key")
    await office.desk.vault.destroy(SITE, office.now[0])
    # As a backup from before the erasure has it.
    await office.custody.execute("ALTER TABLE custody.deletion DISABLE TRIGGER USER")
    await office.custody.execute("DELETE FROM custody.deletion")
    await office.custody.execute(
        "UPDATE custody.subject_key SET sealed = $2, destroyed_at_ms = NULL WHERE kid = $1", kid, rows[0]["sealed"]
    )
    await office.custody.execute("ALTER TABLE custody.deletion ENABLE TRIGGER USER")
    assert (await office.desk.vault.subject(SITE)).keys[0].lives
    assert await office.desk.vault.forget_again() == 1
    assert not (await office.desk.vault.subject(SITE)).keys[0].lives
    assert await office.desk.vault.forget_again() == 0
    assert await office.custody.fetchval("SELECT kid FROM custody.deletion") == kid


async def test_a_key_that_was_journalled_and_not_destroyed_is_destroyed_and_told_at_the_next_start(office: Any) -> None:
    kid = await imported(office)
    journal = deletions(office.desk.vault._journal.path.parent)
    await journal.append([Deletion(kid, SITE, "request", office.now[0])])
    vault = Vault(office.custody, office.desk.keyring.subjects_master, journal, lambda ms: uuid7(ms, next(itertools.count())))
    assert await vault.forget_again() == 1
    await Erasure(office.desk).tell()
    assert (await office.bodies())[-1] == SubjectErased(subject=SITE, kids=(kid,), cause="request")
    await Erasure(office.desk).tell()
    assert len(await office.signed()) == 2


async def test_the_deletion_ledger_only_grows(office: Any) -> None:
    await imported(office)
    await office.desk.vault.destroy(SITE, office.now[0])
    for statement in ("UPDATE custody.deletion SET at_ms = 0", "DELETE FROM custody.deletion", "TRUNCATE custody.deletion"):
        with pytest.raises(asyncpg.RaiseError, match="only grows"):
            await office.custody.execute(statement)


async def test_a_journal_that_was_cut_short_goes_on_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    journal = deletions(tmp_path)
    assert journal.read() == []
    one, two = Deletion("kid-1", "s", "request", 1), Deletion("kid-2", "s", "expired", 2)
    await journal.append([one])
    with journal.path.open("ab") as file:
        file.write(b'{"kid":"cut')
    assert journal.read() == [one]
    await journal.append([two])
    assert journal.read() == [one, two]
    assert journal.path.stat().st_mode & 0o777 == 0o600
    journal.path.write_bytes(b"{}\n")
    with pytest.raises(JournalDamaged, match=r"line 1 of .*deletions\.jsonl"):
        journal.read()


async def test_two_that_seal_for_one_subject_at_once_share_its_key(office: Any) -> None:
    vault = office.desk.vault
    made = await asyncio.gather(*(vault.key("c", "main", Purpose.CONTACT, office.now[0]) for _ in range(8)))
    assert len({key.kid for key in made}) == len({key.key for key in made}) == 1
    stored = await office.custody.fetch("SELECT row(key.*)::text AS row FROM custody.subject_key key")
    assert made[0].key.hex() not in str(stored)


async def test_the_schemas_are_what_the_migrations_build(databases: Any) -> None:
    async with databases(2) as dsns:
        for dsn, sets, after in zip(dsns, ((OWN_MIGRATIONS,), CUSTODY_MIGRATIONS), ([CHASSIS_MIGRATIONS], []), strict=True):
            connection = await asyncpg.connect(dsn)
            try:
                assert await schema_differences(connection, sets[0], after=after) == []
            finally:
                await connection.close()


async def test_over_http_the_administrator_erases_and_the_auditor_reads(office: Any, client: Any) -> None:
    kid = await imported(office)
    found = await client.ask("auditor", "GET", "/v1/subjects", params={"site_reference": "A-1"})
    assert found.json() == {"subject": SITE}
    path = f"/v1/subjects/{SITE}"
    assert (await client.ask("auditor", "POST", f"{path}/erasure")).status_code == 403
    assert (await client.ask("auditor", "GET", f"{path}/values")).status_code == 403
    opened = await client.ask("dispatcher", "GET", f"{path}/values", headers={"Zb-Purpose": "calls before the visit"})
    assert opened.json()["values"] == {"access_code": "4711B", "contact": "Frau Weber 0151 1"}
    (noted,) = (await client.ask("auditor", "GET", "/v1/access-log", params={"about": f"subject:{SITE}"})).json()["records"]
    assert (noted["action"], noted["purpose"]) == ("read personal values", "calls before the visit")
    assert (await client.ask("northerner", "GET", f"{path}/values")).json()["code"] == "access.wrong_agency"
    assert (await client.ask("administrator", "PUT", f"{path}/hold", json={"case": "case-7"})).status_code == 200
    held = await client.ask("administrator", "POST", f"{path}/erasure")
    assert (held.status_code, held.json()["code"]) == (409, "subject.held")
    assert (await client.ask("administrator", "DELETE", f"{path}/hold")).json()["hold"] is None
    erased = (await client.ask("administrator", "POST", f"{path}/erasure")).json()
    assert ([key["kid"] for key in erased["destroyed"]], erased["living"]) == ([kid], [])
    assert {"stream": f"site:{SITE}", "field": "contact"}.items() <= erased["destroyed"][0]["values"][1].items()
    assert any("10 years" in each["why"] for each in erased["stays"])
    again = await client.ask("administrator", "POST", f"{path}/erasure")
    assert (again.status_code, again.json()["code"]) == (409, "subject.erased")
    gone = await client.ask("dispatcher", "GET", f"{path}/values")
    assert (gone.status_code, gone.json()["code"]) == (409, "subject.erased")
    unknown = await client.ask("auditor", "GET", "/v1/subjects/nobody")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "subject.unknown")


async def test_pictures_go_with_the_keys_and_the_evidence_store_is_told_also_after_a_restore(office: Any, client: Any) -> None:
    kid = await imported(office)
    rows = await office.custody.fetch("SELECT * FROM custody.subject_key")
    path = f"/v1/subjects/{SITE}"
    bad = await client.ask("administrator", "POST", f"{path}/erasure", json={"pictures": ["no hash"]})
    assert bad.status_code == 422
    erased = (await client.ask("administrator", "POST", f"{path}/erasure", json={"pictures": [PICTURE]})).json()
    assert erased["pictures"] == [PICTURE]
    (message,) = await _told_of_pictures(office)
    assert (message.subject, message.agency, message.files) == (SITE, "main", (PICTURE,))
    (line,) = office.desk.vault._journal.read()
    assert (line.kid, line.pictures) == (kid, (PICTURE,))
    # As a backup from before the erasure has it: the outbox, too.
    await office.custody.execute("DELETE FROM custody.picture")
    await office.custody.execute(
        "UPDATE custody.subject_key SET sealed = $2, destroyed_at_ms = NULL, told = false WHERE kid = $1", kid, rows[0]["sealed"]
    )
    await office.pool.execute("DELETE FROM chassis.outbox WHERE subject = 'reference.v1.erased'")
    assert await office.desk.vault.forget_again() == 1
    await Erasure(office.desk).tell()
    assert [one.files for one in await _told_of_pictures(office)] == [(PICTURE,)]


async def _told_of_pictures(office: Any) -> list[PicturesErased]:
    rows = await office.pool.fetch("SELECT payload FROM chassis.outbox WHERE subject = 'reference.v1.erased' ORDER BY position")
    return [PicturesErased.model_validate_json(row["payload"]) for row in rows]


async def test_values_whose_keys_a_restore_did_not_bring_are_forgotten_and_can_be_imported_again(office: Any) -> None:
    kid = await imported(office)
    erasure = Erasure(office.desk)
    assert await erasure.forget_lost() == 0
    await office.custody.execute("DELETE FROM custody.use")
    await office.custody.execute("DELETE FROM custody.subject_key")
    assert await erasure.forget_lost() == 1
    await import_sites(office.desk, "main", "integrator-1", FILE, "all-or-nothing")
    (key,) = (await office.desk.vault.subject(SITE)).keys
    assert key.kid != kid
    assert (await erasure.values(SITE))["contact"] == "Frau Weber 0151 1"
