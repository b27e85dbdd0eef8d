"""Keys between custody and devices: who gets which, what is taken in, what is forgotten, and every refusal by its name."""

import time
from typing import Any

import pytest

from scheduling.custody.deposits import DEPOSITS_PER_DAY_MAX
from scheduling.custody.erasure import Erasure
from scheduling.custody.policy import DAY_MS, WEEK_MS
from scheduling.ids import id_of, uuid7
from scheduling.intake import import_sites
from zb_contracts.events.places import SiteRegistered
from zb_contracts.keys import SigningKey, kid, seal_to
from zb_contracts.sealed import fresh_nonce, fresh_subject_key, open_sealed_value, seal, to_base64url
from zb_contracts.subject_keys import (
    DEPOSITS_PATH,
    KEYS_PATH,
    Deposit,
    DepositAnswer,
    DepositRequest,
    KeysRequest,
    read_statement,
)

SITES = b"reference;name;town;country;contact\nA-1;Alexanderplatz;Berlin;DE;Frau Weber 0151 1\nB-1;Bellevue;Berlin;DE;Ott 2\n"
A, B = (id_of("site", "main", reference) for reference in ("A-1", "B-1"))
EVENT = uuid7(0, 7)


@pytest.fixture
async def anna(office: Any, phone: Any) -> Any:
    """Her device, with the first site in her scope; she works for the agency."""
    await import_sites(office.desk, "main", "integrator-1", SITES, "all-or-nothing")
    await office.pool.execute(
        "INSERT INTO scheduling.technician (agency, id, name, latitude_e7, longitude_e7, starts, ends, timezone, skills, active)"
        " VALUES ('main', 'anna', 'Anna', 0, 0, '08:00', '17:00', 'Europe/Paris', '[]', true)"
    )
    phone.documents = (f"site:{A}", "intervention:leaky-boiler")
    return phone


def deposit(phone: Any, key: bytes, **other: Any) -> Deposit:
    values: dict[str, Any] = {
        "kid": f"subject-{uuid7(0, key[0])}",
        "purpose": "contact",
        "actor": "anna",
        "stream": f"site:{A}",
        "event": EVENT,
        "fields": ("contact",),
        "at_ms": 0,
        "recipient_kid": kid(phone.custody_key),
        "wrapped": to_base64url(seal_to(phone.custody_key, key)),
    }
    return Deposit.model_validate(values | other)


async def hand_in(phone: Any, *deposits: Deposit, session_of: str | None = None) -> DepositAnswer:
    answer = await phone.post(DEPOSITS_PATH, DepositRequest(device=phone.device, deposits=deposits), session_of=session_of)
    assert answer.status_code == 200, answer.text
    return DepositAnswer.model_validate(answer.json())


async def test_a_device_reads_the_contacts_of_its_scope_and_no_others_and_it_stands_in_the_access_log(
    office: Any, client: Any, anna: Any
) -> None:
    answer = await anna.keys()
    (contact,) = [key for key in answer.keys if key.purpose == "contact"]
    assert contact.subject == A
    (event, *_), (body, *_) = await office.signed(), await office.bodies()
    assert isinstance(body, SiteRegistered)
    assert body.contact is not None
    assert open_sealed_value(anna.opened(contact), event.header.id, "contact", body.contact) == "Frau Weber 0151 1"
    (noted,) = (await client.ask("auditor", "GET", "/v1/access-log", params={"about": f"subject:{A}"})).json()["records"]
    assert (noted["reader"], noted["roles"], noted["purpose"]) == ("anna", ["technician"], "work in the field with dev-1")
    assert (await client.ask("auditor", "GET", "/v1/access-log", params={"about": f"subject:{B}"})).json()["records"] == []
    # What it has is not given again, and is not noted again.
    assert await anna.keys(*(key.kid for key in answer.keys)) == answer.model_copy(update={"keys": ()})
    assert (await client.ask("auditor", "GET", "/v1/access-log/verification")).json()["sound"]


async def test_what_left_the_scope_or_was_erased_is_to_be_forgotten(office: Any, anna: Any) -> None:
    (contact,) = [key for key in (await anna.keys()).keys if key.purpose == "contact"]
    anna.documents = (f"site:{B}",)
    assert (await anna.keys(contact.kid)).gone == (contact.kid,)
    anna.documents = (f"site:{A}",)
    assert (await anna.keys(contact.kid)).gone == ()
    await Erasure(office.desk).erase(A, "administrator-1")
    erased = await anna.keys(contact.kid)
    assert erased.gone == (contact.kid,)
    assert {key.purpose for key in erased.keys} == {"position", "service-position"}


async def test_positions_get_keys_of_this_week_and_the_next_which_end_with_time(office: Any, anna: Any) -> None:
    keys = [key for key in (await anna.keys()).keys if key.subject == "anna"]
    monday = office.now[0] - 9 * 3_600_000
    spans = {(key.purpose, key.used_from_ms, key.used_until_ms) for key in keys}
    assert spans == {
        (purpose, monday + week * WEEK_MS, monday + (week + 1) * WEEK_MS)
        for purpose in ("position", "service-position")
        for week in (0, 1)
    }
    office.now[0] = monday + 60 * DAY_MS
    while await office.desk.vault.destroy_expired(office.now[0]):
        pass
    gone = (await anna.keys(*(key.kid for key in keys))).gone
    assert gone == tuple(key.kid for key in keys if key.purpose == "position" and key.used_from_ms == monday)


async def test_a_stranger_without_an_agency_gets_no_position_keys(office: Any, phone: Any) -> None:
    assert (await phone.keys()).keys == ()
    assert await office.custody.fetchval("SELECT count(*) FROM custody.subject_key") == 0


async def test_statements_that_are_not_believed_are_refused_by_name(office: Any, anna: Any) -> None:
    async def refused(**other: Any) -> str:
        session_of = other.pop("session_of", None)
        asked = KeysRequest(device=anna.device, statement=anna.statement(**other))
        answer = await anna.post(KEYS_PATH, asked, session_of=session_of)
        assert answer.json()["code"] == "subject.statement_refused"
        return str(answer.json()["details"]["reason"])

    assert "no key that we trust" in await refused(key=SigningKey.generate())
    assert "ended" in await refused(ends_ms=time.time_ns() // 1_000_000)
    assert "another device" in await refused(device="dev-2")
    assert "another device" in await refused(technician="ben")
    assert "another device" in await refused(session_of="drain")
    forged = anna.statement()
    asked = KeysRequest(device=anna.device, statement=forged.model_copy(update={"payload": anna.statement(device="x").payload}))
    assert (await anna.post(KEYS_PATH, asked)).json()["code"] == "subject.statement_refused"
    assert read_statement(forged, office.desk.keyring.ledger_keys(0), 0).technician == "anna"
    without = await anna.http.post(KEYS_PATH, content=b"{}")
    assert without.json()["code"] == "access.unauthenticated"


async def test_a_key_made_off_line_is_kept_opens_what_was_sealed_and_is_destroyed_by_an_erasure(office: Any, anna: Any) -> None:
    key = fresh_subject_key()
    made = deposit(anna, key)
    sealed = seal(key, made.kid, EVENT, "contact", "Frau Weber 0171 2", fresh_nonce())
    assert await hand_in(anna, made) == DepositAnswer(taken=(made.kid,))
    assert await hand_in(anna, made) == DepositAnswer(taken=(made.kid,))
    assert key.hex() not in str(await office.custody.fetch("SELECT row(k.*)::text FROM custody.subject_key k"))
    (there,) = [one for one in (await anna.keys()).keys if one.kid == made.kid]
    assert open_sealed_value(anna.opened(there), EVENT, "contact", sealed) == "Frau Weber 0171 2"
    report = await Erasure(office.desk).erase(A, "administrator-1")
    assert made.kid in {one.kid for one in report.destroyed}
    # The device did not hear that it was taken: handing it in again brings nothing back.
    assert (await hand_in(anna, made)).taken == (made.kid,)
    assert (await anna.keys(made.kid)).gone == (made.kid,)


async def test_positions_made_off_line_end_by_their_own_time_and_never_by_a_clock_that_is_ahead(office: Any, anna: Any) -> None:
    now_ms = office.now[0]
    old, ahead = fresh_subject_key(), fresh_subject_key()
    values = {"purpose": "position", "stream": "intervention:unknown", "fields": ("position",)}
    early = deposit(anna, old, kid="subject-old", at_ms=now_ms - 30 * DAY_MS, **values)
    late = deposit(anna, ahead, kid="subject-ahead", at_ms=now_ms + 900 * DAY_MS, **values)
    await hand_in(anna, early, late)
    assert {key.kid for key in (await anna.keys("subject-old", "subject-ahead")).keys} & {"subject-old"} == set()
    assert "subject-old" in await office.desk.vault.destroy_expired(now_ms + 31 * DAY_MS)
    assert "subject-ahead" in await office.desk.vault.destroy_expired(now_ms + 60 * DAY_MS)


async def test_a_drain_session_hands_keys_in_and_gets_none(anna: Any) -> None:
    made = deposit(anna, fresh_subject_key())
    assert (await hand_in(anna, made, session_of="drain")).taken == (made.kid,)


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ({"actor": "ben"}, "subject.deposit_refused"),
        ({"recipient_kid": "0" * 16}, "subject.deposit_refused"),
        ({"wrapped": "AAAA"}, "subject.deposit_refused"),
        ({"purpose": "signer"}, "subject.deposit_refused"),
        ({"stream": "stock:van-anna"}, "subject.deposit_refused"),
        ({"stream": "site:nowhere"}, "input.not_found"),
        ({"purpose": "signer", "stream": "intervention:no-uuid"}, "input.not_found"),
    ],
)
async def test_what_custody_does_not_take_is_named_and_the_rest_is_kept(anna: Any, other: dict[str, Any], code: str) -> None:
    good, bad = deposit(anna, fresh_subject_key(), kid="good"), deposit(anna, fresh_subject_key(), **{"kid": "bad"} | other)
    answer = await hand_in(anna, bad, good)
    assert (answer.taken, [(one.kid, one.code) for one in answer.refused]) == (("good",), [("bad", code)])


async def test_a_name_that_another_key_has_and_a_flood_of_keys_are_refused(office: Any, anna: Any, new_phone: Any) -> None:
    made = deposit(anna, fresh_subject_key())
    await hand_in(anna, made)
    other = new_phone(device="dev-2", technician="ben")
    (refused,) = (await hand_in(other, deposit(other, fresh_subject_key(), kid=made.kid, actor="ben"))).refused
    assert refused.code == "input.exists_different"
    await office.custody.execute(
        "INSERT INTO custody.subject_key (kid, subject, purpose, period, sealed, made_at_ms, made_by, taken_at_ms)"
        " SELECT 'flood-' || n, $1, 'contact', '', '{}', 0, 'dev-1', $2 FROM generate_series(1, $3) n",
        A,
        office.now[0],
        DEPOSITS_PER_DAY_MAX,
    )
    flood = await anna.post(DEPOSITS_PATH, DepositRequest(device="dev-1", deposits=(deposit(anna, fresh_subject_key()),)))
    assert (flood.status_code, flood.json()["code"]) == (429, "system.rate_limited")


async def test_the_office_opens_where_a_technician_was_and_it_stands_in_the_access_log(
    office: Any, client: Any, anna: Any
) -> None:
    key = fresh_subject_key()
    made = deposit(anna, key, purpose="position", stream="intervention:unknown", fields=("position",), at_ms=office.now[0])
    await hand_in(anna, made)
    sealed = seal(key, made.kid, EVENT, "position", '{"latitude_e7":1}', fresh_nonce()).model_dump(mode="json")
    asked = {"values": [{"event": EVENT, "field": name, "value": sealed} for name in ("position", "signer")]}
    path = "/v1/subjects/anna/opening"
    assert (await client.ask("auditor", "POST", path, json=asked)).status_code == 403
    opened = await client.ask("dispatcher", "POST", path, json=asked, headers={"Zb-Purpose": "complaint 7"})
    assert opened.json() == {"subject": "anna", "texts": ['{"latitude_e7":1}', None]}
    (noted,) = (await client.ask("auditor", "GET", "/v1/access-log", params={"about": "subject:anna"})).json()["records"]
    assert (noted["action"], noted["purpose"]) == ("opened sealed values", "complaint 7")
    # Another subject's key opens nothing under this name.
    other = await client.ask("dispatcher", "POST", f"/v1/subjects/{A}/opening", json=asked)
    assert other.json()["texts"] == [None, None]
    assert (await client.ask("northerner", "POST", path, json=asked)).json()["code"] == "access.wrong_agency"
