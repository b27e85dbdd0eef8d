"""The auditor's surface: every clock, who knew what, what was set aside and why, evidence, and proofs that really hold."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from field_ingest.audit.dossier_api import router
from zb_chassis.http import application
from zb_chassis.identity import Principal, Role
from zb_contracts import merkle
from zb_contracts.events.fieldwork import CommentAdded, PhotoTaken
from zb_contracts.events.office import DetailsChanged, InterventionCreated
from zb_contracts.events.values import File
from zb_contracts.notes import NoteVerifier, verify_checkpoint

BOILER = "11111111-1111-4111-8111-111111111111"
LIFT = "22222222-2222-4222-8222-222222222222"
LIST = "/v1/audit/interventions"
ORIGIN = "zone-blanche.test/ledger/0"
PEOPLE = {
    "alix": Principal("alix", frozenset({Role.AUDITOR}), frozenset({"*"})),
    "nora": Principal("nora", frozenset({Role.AUDITOR}), frozenset({"north"})),
    "dana": Principal("dana", frozenset({Role.DISPATCHER}), frozenset({"main"})),
}


class _People:
    """Verifies no token: who calls is what is tried here, not how they prove it."""

    async def verify(self, token: str) -> Principal:
        return PEOPLE[token]


@pytest.fixture
async def auditor(company: Any, office: Any, camille: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A conflict of titles on the boiler with a photo; a quiet lift."""
    second = await company.hire("office-other", "office")
    stream = f"intervention:{BOILER}"
    for one, reference in ((BOILER, "W-1"), (LIFT, "W-2")):
        created = InterventionCreated(reference=reference, kind="repair", title="leaky boiler", site="site-1", agency="main")
        await company.record(office, f"intervention:{one}", created)
    left = company.write(office, stream, DetailsChanged(title="boiler room"))
    right = company.write(second, stream, DetailsChanged(title="boiler house"))
    await company.admit(left, right)
    await company.record(camille, stream, CommentAdded(text="it leaks"))
    photo = PhotoTaken(file=File(sha256="ab" * 32, length_bytes=10, mime="image/jpeg"), source="camera")
    await company.record(camille, stream, photo)
    await company.project()

    async def ready() -> None:
        return None

    app = application("field-ingest", [router(company.pool, company.clock)], ready=ready)
    app.state.verifier = _People()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingest") as client:
        client.headers.update({"Authorization": "Bearer alix", "Zb-Purpose": "complaint 114"})
        yield client


async def test_a_timeline_has_every_clock_and_what_each_knew(auditor: httpx.AsyncClient, company: Any) -> None:
    entries = (await auditor.get(f"{LIST}/{BOILER}/timeline")).json()["entries"]
    assert [entry["author"] for entry in entries] == ["office-main", "office-main", "office-other", "device-a-1", "device-a-1"]
    comment = entries[3]
    assert comment["clocks"] == {
        "wall": "2026-11-23T10:00:00.000Z",
        "anchor": "2026-11-23T10:00:00.000Z",
        "elapsed_ms": 0,
        "anchored": "2026-11-23T10:00:00.000Z",
        "received": "2026-11-23T10:00:00.000Z",
    }
    assert comment["knew"] == {"office-main": 3, "office-other": 1}
    noted = await company.pool.fetch("SELECT reader, purpose, action, object FROM chassis.access_log")
    assert [tuple(row) for row in noted] == [("alix", "complaint 114", "audit timeline", f"intervention:{BOILER}")]


async def test_what_was_set_aside_is_told_with_the_rules_sentence(auditor: httpx.AsyncClient) -> None:
    for language, word in (("en", "did not know of it"), ("fr", "bureau")):
        (title,) = (await auditor.get(f"{LIST}/{BOILER}/set-aside?language={language}")).json()["decisions"]
        assert (title["field"], title["stands"], title["set_aside"]) == ("title", "boiler house", ["boiler room"])
        assert word in title["sentence"]
        assert len(title["knew"]) == 2
    assert (await auditor.get(f"{LIST}/{LIFT}/set-aside")).json() == {"decisions": []}


async def test_evidence_is_named_by_its_hash(auditor: httpx.AsyncClient) -> None:
    (file,) = (await auditor.get(f"{LIST}/{BOILER}/evidence")).json()["files"]
    assert (file["file"]["sha256"], file["origin"]["author"], file["voided"]) == ("ab" * 32, "device-a-1", False)


async def test_each_event_has_a_proof_under_a_signed_head(auditor: httpx.AsyncClient, company: Any) -> None:
    (early,) = (await auditor.get(f"{LIST}/{BOILER}/proofs")).json()["checkpoints"]
    assert {row["proof"] for row in early["rows"]} == {None}, "nobody has asked for a head yet"
    await company.checkpoints.current(company.pool, 0)
    (told,) = (await auditor.get(f"{LIST}/{BOILER}/proofs")).json()["checkpoints"]
    head = verify_checkpoint(told["checkpoint"], ORIGIN, [NoteVerifier(ORIGIN, company.ledger_key.public)])
    leaves = await company.pool.fetch("SELECT position, leaf_hash FROM ledger ORDER BY position")
    assert [row["position"] for row in told["rows"]] == [0, 2, 3, 4, 5]
    for row in told["rows"]:
        path = [base64.b64decode(one) for one in row["proof"]]
        merkle.verify_inclusion(leaves[row["position"]]["leaf_hash"], row["position"], head.size, path, head.root)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [BOILER, LIFT]),
        (f"?after={BOILER}", [LIFT]),
        ("?agency=main&status=draft", [BOILER, LIFT]),
        ("?status=done", []),
        ("?conflict=true", []),
        ("?conflict=false", [BOILER, LIFT]),
        ("?changed_from=2026-11-23T10:00:00.000Z", [BOILER, LIFT]),
        ("?changed_until=2026-11-23T10:00:00.000Z", []),
    ],
)
async def test_interventions_are_listed_by_filter(auditor: httpx.AsyncClient, query: str, found: list[str]) -> None:
    answer = (await auditor.get(f"{LIST}{query}")).json()
    assert ([one["intervention"] for one in answer["interventions"]], answer["next"]) == (found, None)


@pytest.mark.parametrize(
    ("who", "path", "code"),
    [
        ("dana", "", "access.forbidden"),
        ("nora", f"/{BOILER}/timeline", "access.wrong_agency"),
        ("nora", "?agency=main", "access.wrong_agency"),
        ("alix", "?changed_from=yesterday", "input.invalid"),
        ("alix", "/99999999-9999-4999-8999-999999999999/proofs", "input.not_found"),
    ],
)
async def test_every_refusal_has_its_name(auditor: httpx.AsyncClient, who: str, path: str, code: str) -> None:
    assert (await auditor.get(f"{LIST}{path}", headers={"Authorization": f"Bearer {who}"})).json()["code"] == code


async def test_an_auditor_of_another_agency_sees_none(auditor: httpx.AsyncClient) -> None:
    answer = await auditor.get(LIST, headers={"Authorization": "Bearer nora"})
    assert answer.json()["interventions"] == []
