"""Catalogues: the same bytes for all technicians, named by their hash in a scope, fetched once by whoever may have them."""

import json
from typing import Any

import pytest

from field_ingest.projection import catalogues
from zb_contracts import canonical, subjects
from zb_contracts.announcements import CHECKLIST, PARTS, PRICE_LIST, REASONS
from zb_contracts.catalogues import read_reference, unpacked
from zb_contracts.events.fieldwork import CommentAdded
from zb_contracts.events.office import Assigned, DetailsChanged, InterventionCreated
from zb_contracts.problems import Problem
from zb_contracts.signed import verify_document
from zb_contracts.sync import ANSWER_TYPE, CATALOGUE_PACKED_BYTES_MAX, SyncAnswer, SyncRequest, pack, read_answer, unpack_document

BOILER = "intervention:11111111-1111-4111-8111-111111111111"
LIFT = "intervention:22222222-2222-4222-8222-222222222222"
NONCE = "0123456789abcdef0123456789abcdef"
SAFETY = "catalogue:checklist/lift-safety"
QUESTIONS = [{"item": "brake", "question": "Does the brake hold?", "answer": "yes_no"}]
MANY_PARTS = 5_000


def checklist(version: int = 1, title: str = "Safety") -> bytes:
    body = {"checklist": "lift-safety", "version": version, "title": title, "items": QUESTIONS}
    return json.dumps(body).encode()


def parts(agency: str = "main", count: int = 3, version: int = 1) -> bytes:
    found = [{"part": f"P-{number:05}", "label": f"Seal {number * 7919 % 10_007} mm", "unit": "piece"} for number in range(count)]
    return json.dumps({"agency": agency, "version": version, "parts": found}).encode()


async def publish(company: Any, event_type: str, data: bytes) -> bool:
    """As the reader of REFERENCE takes it."""
    found = catalogues.catalogue_of(event_type, data)
    assert found is not None
    async with company.pool.acquire() as connection, connection.transaction():
        return await catalogues.take(connection, found)


async def planned(company: Any, office: Any, stream: str, technician: str, agency: str = "main") -> None:
    """An intervention that names the checklist, in somebody's hands."""
    what = {"reference": "W-1", "kind": "repair", "title": "slow lift", "site": "site-1"}
    await company.record(office, stream, InterventionCreated(**what, agency=agency, checklist="lift-safety"))
    await company.record(office, stream, Assigned(assignee=technician))
    await company.project()


async def ask(company: Any, technician: str = "camille", device: str = "device-a", **what: Any) -> SyncAnswer:
    request = SyncRequest(**({"nonce": NONCE, "author": f"{device}-1", "mark": 0, "head": 0} | what))
    data = await company.responder().answer(subjects.sync(device, technician), pack(request))
    assert data is not None
    keys = {company.ledger_key.kid: company.ledger_key.public}
    return read_answer(verify_document(ANSWER_TYPE, unpack_document(data), keys))


def references(answer: SyncAnswer) -> dict[str, Any]:
    """Of the scope's catalogues, by id."""
    assert answer.scope is not None
    found = [one for one in answer.scope.documents if one.id.startswith("catalogue:") and one.content]
    assert all(one.vector == {} for one in found)
    return {one.id: read_reference(one.id, one.content) for one in found}


def place(answer: SyncAnswer) -> dict[str, Any]:
    assert answer.scope is not None
    return {"scope_epoch": answer.scope.epoch, "scope_cursor": answer.scope.cursor, "scope_count": answer.scope.count}


async def test_what_an_intervention_names_comes_as_a_reference_and_its_bytes_once_they_are_asked_for(
    company: Any, office: Any, camille: Any
) -> None:
    await publish(company, CHECKLIST, checklist())
    await publish(company, PARTS, parts())
    await publish(company, REASONS, json.dumps({"agency": "main", "version": 1, "reasons": []}).encode())
    await planned(company, office, BOILER, "camille")

    answer = await ask(company)
    named = references(answer)
    assert set(named) == {SAFETY, "catalogue:parts/main", "catalogue:reasons/main"}
    assert answer.catalogues == ()

    wanted = tuple(sorted(reference.sha256 for reference in named.values()))
    answer = await ask(company, catalogues=wanted, **place(answer))
    assert (answer.scope, answer.more) == (None, False)
    contents = {one.sha256: unpacked(one) for one in answer.catalogues}
    assert tuple(sorted(contents)) == wanted
    assert canonical.decode(contents[named[SAFETY].sha256])["items"][0]["item"] == "brake"
    assert len(contents[named[SAFETY].sha256]) == named[SAFETY].length_bytes


async def test_two_technicians_get_the_same_bytes_and_a_stranger_gets_none(company: Any, office: Any, camille: Any) -> None:
    await company.hire("device-b-1", device="device-b", technician="dominique")
    await company.hire("device-c-1", device="device-c", technician="claude")
    await publish(company, CHECKLIST, checklist())
    await planned(company, office, BOILER, "camille")
    await planned(company, office, LIFT, "dominique")
    digest = references(await ask(company))[SAFETY].sha256

    first = await ask(company, catalogues=(digest,))
    second = await ask(company, "dominique", "device-b", catalogues=(digest,))
    stranger = await ask(company, "claude", "device-c", catalogues=(digest,))
    assert first.catalogues == second.catalogues != ()
    assert stranger.catalogues == ()


async def test_a_new_version_moves_the_reference_and_no_other_document(company: Any, office: Any, camille: Any) -> None:
    await planned(company, office, BOILER, "camille")
    before = await ask(company)
    assert references(before) == {}
    await publish(company, CHECKLIST, checklist())
    await company.project()
    first = await ask(company, **place(before))
    assert [one.id for one in first.scope.documents] == [SAFETY]
    await publish(company, CHECKLIST, checklist(2, "Safety, once more"))
    await company.project()
    second = await ask(company, **place(first))
    assert [one.id for one in second.scope.documents] == [SAFETY]
    assert references(second)[SAFETY].sha256 != references(first)[SAFETY].sha256
    assert not await publish(company, CHECKLIST, checklist(1))
    await company.project()
    assert (await ask(company, **place(second))).scope is None


async def test_a_catalogue_leaves_with_the_last_intervention_that_names_it(company: Any, office: Any, camille: Any) -> None:
    await publish(company, CHECKLIST, checklist())
    await planned(company, office, BOILER, "camille")
    before = await ask(company)
    await company.record(office, BOILER, DetailsChanged(checklist="another"))
    await company.project()
    gone = [one.id for one in (await ask(company, **place(before))).scope.documents if one.content is None]
    assert gone == [SAFETY]


async def test_catalogues_beyond_the_room_of_an_answer_come_in_the_next(company: Any, office: Any, camille: Any) -> None:
    await publish(company, CHECKLIST, checklist())
    await publish(company, PARTS, parts(count=MANY_PARTS))
    await planned(company, office, BOILER, "camille")
    for number in range(20):
        await company.record(camille, BOILER, CommentAdded(text=f"remark {number}"))
    await company.project()
    first = await ask(company, mark=20, wants_checkpoint=False)
    lacking = {one.sha256 for one in references(first).values()}
    rounds = 0
    while lacking:
        answer = await ask(
            company, mark=20, wants_checkpoint=False, bytes_max=16 * 1024, catalogues=tuple(sorted(lacking)), **place(first)
        )
        rounds += 1
        lacking -= {one.sha256 for one in answer.catalogues}
        assert answer.more is bool(lacking)
    assert rounds == 2


async def test_price_lists_are_no_catalogues_and_what_cannot_be_read_is_refused_by_name() -> None:
    assert catalogues.catalogue_of(PRICE_LIST, b"anything") is None
    for data in (b"{", b'{"checklist": "x"}', checklist().replace(b"lift-safety", b"../etc")):
        with pytest.raises(Problem) as caught:
            catalogues.catalogue_of(CHECKLIST, data)
        assert caught.value.code == "sync.catalogue_invalid"


async def test_a_catalogue_that_would_fit_no_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zb_contracts.catalogues.CATALOGUE_PACKED_BYTES_MAX", 40)
    assert CATALOGUE_PACKED_BYTES_MAX < 512 * 1024
    with pytest.raises(Problem) as caught:
        catalogues.catalogue_of(PARTS, parts(count=100))
    assert (caught.value.code, caught.value.retryable) == ("sync.catalogue_invalid", False)
