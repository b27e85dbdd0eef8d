"""The HTTP interface on a real PostgreSQL with real tokens: what it does, who may, and how it says no."""

import json
from typing import Any

import httpx
import pytest

from scheduling import desk, store
from scheduling.app import hears
from scheduling.board import take_announcement
from zb_chassis.consuming import DeadLetters, unsafe_subscribers
from zb_chassis.messaging import subscribe

SITES = "reference,name,town,country,latitude,longitude,contact\nA-1,Alexanderplatz,Berlin,DE,52.5215,13.411,Frau Weber\n"
LIFTS = "reference,kind,label,site_reference\nL-1,lift,Lift 1,A-1\n"
WORK = "reference,kind,title,site_reference,equipment_reference,required_skills\nW-1,repair,Cabin stuck,A-1,L-1,lift\n"
ANNA = {"id": "anna", "name": "Anna", "latitude_e7": 525_200_000, "longitude_e7": 134_050_000, "skills": ["lift"]}
CREATE = {"agency": "main", "reference": "W-1", "kind": "repair", "title": "Cabin stuck", "site_reference": "A-1"}
FOURTEEN, SIXTEEN = "2026-03-16T14:00:00.000Z", "2026-03-16T16:00:00.000Z"


async def feed(client: Any) -> None:
    assert (await client.csv("integrator", "sites", SITES)).status_code == 200
    assert (await client.csv("integrator", "equipment", LIFTS)).status_code == 200
    body = {"agency": "main", "technicians": [ANNA]}
    assert (await client.ask("planner", "PUT", "/v1/technicians", json=body)).status_code == 200


async def created(client: Any, **changes: Any) -> str:
    await feed(client)
    answer = await client.ask("dispatcher", "POST", "/v1/interventions", json=CREATE | changes)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def edit(client: Any, intervention: str, what: str, who: str = "dispatcher", **body: Any) -> httpx.Response:
    answer: httpx.Response = await client.ask(who, "POST", f"/v1/interventions/{intervention}/{what}", json=body)
    return answer


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"urn:zone-blanche:problem:{code}"
    assert document["status"] == status
    return document


async def test_an_intervention_goes_from_file_to_tour(client: Any, office: Any) -> None:
    await feed(client)
    report = (await client.csv("integrator", "interventions", WORK)).json()
    assert (report["total"], report["taken"], report["bad"]) == (1, 1, 0)
    intervention = report["rows"][0]["id"]
    plan = await client.ask("planner", "POST", "/v1/plans", json={"agency": "main", "day": "2026-03-16"})
    assert plan.status_code == 200, plan.text
    (stop,) = plan.json()["tours"]["anna"]
    assert (stop["intervention"], stop["reference"], stop["position"]) == (intervention, "W-1", 1)
    board = (await client.ask("dispatcher", "GET", "/v1/board?day=2026-03-16")).json()
    (entry,) = board["interventions"]
    assert (entry["status"], entry["technician"], entry["planned_start"]) == ("assigned", "anna", stop["planned_start"])
    assert {event.header.actor for event in await office.signed()} == {"integrator", "planner"}


async def test_every_edit_moves_the_version(client: Any, office: Any) -> None:
    intervention = await created(client)
    steps = [
        ("plan", {"planned_start": FOURTEEN, "duration_min": 60}, "planned"),
        ("assign", {"technician": "anna"}, "assigned"),
        ("move", {"planned_start": SIXTEEN, "reason": "rain"}, "assigned"),
        ("details", {"priority": "high", "bill_of_materials": [{"part": "P-1", "quantity": "2"}]}, "assigned"),
        ("cancel", {"reason": "sold"}, "cancelled"),
        ("reopen", {"reason": "not sold"}, "draft"),
    ]
    for version, (what, body, status) in enumerate(steps, 1):
        answer = await edit(client, intervention, what, version=version, **body)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["version"], answer.json()["status"]) == (version + 1, status)
    types = [event.header.type for event in await office.signed() if event.header.stream.startswith("intervention:")]
    assert [name.split(".")[1] for name in types] == [
        "created",
        "planned",
        "assigned",
        "rescheduled",
        "details_changed",
        "cancelled",
        "reopened",
    ]


async def test_an_edit_that_saw_an_older_version_is_a_conflict_document(client: Any) -> None:
    intervention = await created(client)
    await edit(client, intervention, "plan", version=1, planned_start=FOURTEEN, duration_min=60)
    document = refused(await edit(client, intervention, "cancel", version=1, reason="sold"), 409, "plan.version_conflict")
    assert document["detail"] == f"{intervention} is at version 2, you saw 1"


async def test_creating_the_same_again_answers_200_and_another_content_409(client: Any, office: Any) -> None:
    intervention = await created(client)
    again = await client.ask("dispatcher", "POST", "/v1/interventions", json=CREATE)
    assert (again.status_code, again.json()["id"], again.json()["version"]) == (200, intervention, 1)
    other = await client.ask("dispatcher", "POST", "/v1/interventions", json=CREATE | {"title": "Other"})
    refused(other, 409, "input.exists_different")
    assert len(await office.signed()) == 3


@pytest.mark.parametrize(
    ("who", "method", "path"),
    [
        ("integrator", "POST", "/v1/interventions/{}/plan"),
        ("auditor", "POST", "/v1/interventions/{}/cancel"),
        ("technician", "GET", "/v1/interventions/{}"),
        ("technician", "GET", "/v1/board?day=2026-03-16"),
        ("auditor", "POST", "/v1/plans"),
        ("dispatcher", "POST", "/v1/imports/sites"),
        ("dispatcher", "PUT", "/v1/technicians"),
        ("auditor", "PUT", "/v1/reference/price-lists/PL-1"),
    ],
)
async def test_the_wrong_role_is_refused(client: Any, who: str, method: str, path: str) -> None:
    refused(await client.ask(who, method, path.format("0" * 8 + "-0000-5000-8000-" + "0" * 12)), 403, "access.forbidden")


async def test_nobody_gets_in_without_a_token(client: Any) -> None:
    answer = await client.http.get("/v1/board?day=2026-03-16")
    refused(answer, 401, "access.unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
    forged = {"Authorization": f"Bearer {client.tokens['planner'][:-4]}AAAA"}
    refused(await client.http.get("/v1/board?day=2026-03-16", headers=forged), 401, "access.unauthenticated")


async def test_the_wrong_agency_is_refused_everywhere(client: Any) -> None:
    intervention = await created(client)
    day = {"agency": "main", "day": "2026-03-16"}
    who = "northerner"
    for answer in (
        await client.ask(who, "GET", f"/v1/interventions/{intervention}"),
        await edit(client, intervention, "cancel", who, version=1, reason="sold"),
        await edit(client, intervention, "assign", who, version=1, technician="anna"),
        await client.ask(who, "POST", "/v1/interventions", json=CREATE),
        await client.ask(who, "POST", "/v1/plans", json=day),
        await client.ask(who, "GET", "/v1/board?day=2026-03-16"),
        await client.ask(who, "GET", "/v1/technicians"),
        await client.ask(who, "PUT", "/v1/technicians", json={"agency": "main", "technicians": [ANNA]}),
        await client.ask(who, "PUT", "/v1/reference/contracts/main", json={"contracts": []}),
        await client.csv(who, "sites", SITES),
    ):
        refused(answer, 403, "access.wrong_agency")


async def test_a_file_with_bad_rows_is_one_document_with_every_row(client: Any, office: Any) -> None:
    text = SITES + ",No reference,Berlin,DE,,,\nA-3,No town,,DE,fifty,13,\n"
    document = refused(await client.csv("integrator", "sites", text), 422, "input.rows")
    assert document["detail"] == "2 of 3 rows cannot be taken"
    assert [(error["row"], error["column"]) for error in document["errors"]] == [(3, "reference"), (4, "latitude"), (4, "town")]
    assert await office.signed() == []
    report = (await client.csv("integrator", "sites", text, mode="good-rows")).json()
    assert (report["taken"], report["bad"], len(report["errors"])) == (1, 2, 3)
    assert report["rows"][0]["outcome"] == "created"


async def test_an_import_is_a_csv_file_of_a_known_kind_and_mode(client: Any) -> None:
    json_body = await client.ask("integrator", "POST", "/v1/imports/sites", json={})
    assert "text/csv" in refused(json_body, 422, "input.invalid")["errors"][0]["reason"]
    refused(await client.csv("integrator", "sites", SITES, mode="some-rows"), 422, "input.invalid")
    refused(await client.csv("integrator", "rockets", SITES), 404, "input.not_found")
    refused(await client.csv("integrator", "sites", "name\nA\n"), 422, "input.columns")
    refused(await client.csv("integrator", "sites", SITES, agency="nowhere"), 404, "input.not_found")


@pytest.mark.parametrize(
    ("what", "body"),
    [
        ("plan", {"version": 1, "planned_start": "14:00", "duration_min": 60}),
        ("plan", {"version": 1, "planned_start": FOURTEEN}),
        ("plan", {"planned_start": FOURTEEN, "duration_min": 60}),
        ("move", {"version": 1, "planned_start": FOURTEEN, "colour": "blue"}),
        ("cancel", {"version": 1, "reason": ""}),
        ("cancel", {"version": 0, "reason": "sold"}),
        ("details", {"version": 1, "priority": "very"}),
        ("request", {"version": 1, "request": "that one", "answer": "accept"}),
    ],
)
async def test_a_body_of_another_form_is_refused_with_its_fields(client: Any, what: str, body: dict[str, Any]) -> None:
    document = refused(await edit(client, "0" * 8 + "-0000-5000-8000-" + "0" * 12, what, **body), 422, "input.invalid")
    assert document["errors"]


async def test_what_is_not_there_is_not_found(client: Any) -> None:
    intervention = await created(client)
    nowhere = "0" * 8 + "-0000-5000-8000-" + "0" * 12
    await edit(client, intervention, "plan", version=1, planned_start=FOURTEEN, duration_min=60)
    create = {"reference": "W-2", "site_reference": "A-9"}
    for answer in (
        await client.ask("planner", "GET", f"/v1/interventions/{nowhere}"),
        await edit(client, nowhere, "cancel", version=1, reason="sold"),
        await edit(client, intervention, "assign", version=2, technician="ghost"),
        await edit(client, intervention, "abandon-visit", version=2, visit=nowhere, reason="lost"),
        await client.ask("planner", "POST", "/v1/interventions", json=CREATE | create),
        await client.ask("planner", "POST", "/v1/interventions", json=CREATE | {"equipment_reference": "L-9"}),
        await client.ask("planner", "POST", "/v1/plans", json={"agency": "main", "day": "2026-03-16", "technicians": ["x"]}),
        await client.ask("planner", "GET", "/v1/reference/checklists/nothing"),
    ):
        refused(answer, 404, "input.not_found")


async def test_technicians_need_possible_hours_and_zones(client: Any) -> None:
    for wrong in ({"ends": "07:00"}, {"timezone": "Europe/Atlantis"}, {"starts": "25:00"}, {"latitude_e7": 10**10}):
        body = {"agency": "main", "technicians": [ANNA | wrong]}
        refused(await client.ask("planner", "PUT", "/v1/technicians", json=body), 422, "input.invalid")
    assert (await client.ask("planner", "GET", "/v1/technicians")).json()["technicians"] == []


async def test_reference_data_is_written_read_and_versioned(client: Any) -> None:
    price = {"code": "H", "label": "Hour", "unit": "h", "unit_price_cents": 6200, "vat_permille": 200}
    prices = {"currency": "EUR", "valid_from": "2026-01-01T00:00:00.000Z", "prices": [price]}
    contract = {"contract": "C-1", "customer": "Hall", "erp_account": "411", "price_list": "PL-1", "covered_parts": []}
    checklist = {"title": "Safety", "items": [{"item": "brake", "question": "Brake?", "answer": "yes_no"}]}
    for path, body in (
        ("price-lists/PL-1", prices),
        ("contracts/main", {"contracts": [contract]}),
        ("checklists/lift-safety", checklist),
        ("parts/main", {"parts": [{"part": "P-1", "label": "Seal", "unit": "piece"}]}),
        ("reasons/main", {"reasons": [{"reason": "absent", "label": "Nobody there"}]}),
    ):
        first = await client.ask("integrator", "PUT", f"/v1/reference/{path}", json=body)
        assert (first.status_code, first.json()["version"], first.json()["changed"]) == (200, 1, True), first.text
        again = await client.ask("integrator", "PUT", f"/v1/reference/{path}", json=body)
        assert (again.json()["version"], again.json()["changed"]) == (1, False)
        assert (await client.ask("auditor", "GET", f"/v1/reference/{path}")).json()["content"] == first.json()["content"]


async def test_what_all_agencies_share_is_written_by_nobody_of_one(client: Any) -> None:
    prices = {"currency": "EUR", "valid_from": "2026-01-01T00:00:00.000Z", "prices": []}
    checklist = {"title": "Safety", "items": [{"item": "brake", "question": "Brake?", "answer": "yes_no"}]}
    for path, body in (("price-lists/PL-1", prices), ("checklists/lift-safety", checklist)):
        refused(await client.ask("planner", "PUT", f"/v1/reference/{path}", json=body), 403, "access.wrong_agency")
    reasons = {"reasons": [{"reason": "absent", "label": "Nobody there"}]}
    assert (await client.ask("planner", "PUT", "/v1/reference/reasons/main", json=reasons)).status_code == 200


async def test_the_answer_shows_what_the_field_reported(client: Any, office: Any, announcement: Any) -> None:
    intervention = await created(client)
    await take_announcement(office.pool, "m-1", announcement(intervention, 1, {"dev-1": 4}))
    seen = (await client.ask("auditor", "GET", f"/v1/interventions/{intervention}")).json()
    assert (seen["status"], seen["office_status"]) == ("in_progress", "draft")
    assert seen["field"]["visits"] == [{"id": "visit-1", "technician": "anna", "open": True}]
    await take_announcement(office.pool, "m-2", announcement(intervention, 2, {"dev-1": 9}, "done"))
    document = refused(await edit(client, intervention, "cancel", version=1, reason="sold"), 409, "plan.closed")
    assert "reopen it first" in document["detail"]


async def test_after_a_loss_the_interventions_are_listed_that_the_ledger_alone_knows(
    client: Any, office: Any, announcement: Any
) -> None:
    known, lost = await created(client), "11111111-1111-4111-8111-111111111111"
    for number, intervention in enumerate((known, lost)):
        await take_announcement(office.pool, f"m-{number}", announcement(intervention, 1, {"dev-1": 4}))
    async with office.pool.acquire() as connection:
        rows = await store.lacking(connection)
    assert [(str(row["intervention"]), row["status"]) for row in rows] == [(lost, "in_progress")]


async def test_the_office_asks_the_field_while_a_visit_is_open_and_corrects_beside_it_after_its_end(
    client: Any, office: Any, announcement: Any
) -> None:
    intervention, visit = await created(client), "0192f000-0000-7000-8000-000000000042"
    said = {"field": "diagnosis", "value": "the valve", "reason": "the photo shows it"}
    await take_announcement(office.pool, "m-1", announcement(intervention, 1, {"dev-1": 4}, visit_id=visit))
    document = refused(await edit(client, intervention, "correct", version=1, visit=visit, **said), 409, "plan.state")
    assert "ask the field" in document["detail"]
    assert (await edit(client, intervention, "ask", version=1, **said)).status_code == 200
    await take_announcement(office.pool, "m-2", announcement(intervention, 2, {"dev-1": 9}, "done", visit))
    assert (await edit(client, intervention, "correct", version=2, visit=visit, **said)).status_code == 200
    asked, corrected = (await office.signed())[-2:]
    assert (asked.header.type, corrected.header.type) == ("intervention.request_made.v1", "intervention.corrected.v1")
    assert (asked.header.seen, corrected.header.seen) == ({"dev-1": 4}, {"dev-1": 9})
    assert json.loads(corrected.signed.body) == said | {"visit": visit}
    document = refused(await edit(client, intervention, "ask", version=3, field="priority", value="x"), 422, "input.invalid")
    assert "only the field writes" in document["errors"][0]["reason"]


async def test_the_service_is_ready_while_its_database_answers(client: Any, office: Any) -> None:
    assert (await client.http.get("/ready")).text == "ready"
    await office.pool.close()
    assert (await client.http.get("/ready")).status_code == 503


async def test_a_database_that_is_away_is_a_problem_that_may_pass(client: Any, office: Any) -> None:
    await office.pool.close()
    answer = await client.ask("planner", "GET", "/v1/technicians")
    assert refused(answer, 503, "system.unavailable")["retryable"] is True


async def test_an_agency_whose_turn_does_not_come_is_told_to_try_again(
    client: Any, office: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "take_pen", impatient(desk.take_pen))
    async with office.pool.acquire() as other, other.transaction():
        await store.lock_author(other, "office-main")
        answer = await client.csv("integrator", "sites", SITES)
    refused(answer, 503, "system.unavailable")
    assert (await client.csv("integrator", "sites", SITES)).status_code == 200


def impatient(take_pen: Any) -> Any:
    """The same, with a short patience for the lock."""

    async def take(connection: Any, *arguments: Any) -> Any:
        await connection.execute("SET LOCAL lock_timeout = '50ms'")
        return await take_pen(connection, *arguments)

    return take


@pytest.mark.parametrize("text", ["a\x00b", "half \ud83d"])
async def test_a_text_that_nothing_can_store_is_refused(client: Any, text: str) -> None:
    await feed(client)
    body = json.dumps(CREATE | {"title": text})
    headers = {"Content-Type": "application/json"}
    refused(await client.ask("planner", "POST", "/v1/interventions", content=body, headers=headers), 422, "input.invalid")


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
async def test_the_calendars_ends_are_no_fault_of_the_service(client: Any, day: str) -> None:
    await feed(client)
    plan = await client.ask("planner", "POST", "/v1/plans", json={"agency": "main", "day": day})
    board = await client.ask("planner", "GET", f"/v1/board?day={day}&timezone=Asia/Tokyo")
    assert {plan.status_code, board.status_code} <= {200, 422}


async def test_no_subscription_of_the_service_can_lose_a_message(office: Any) -> None:
    from faststream.nats import NatsBroker

    subscriber = NatsBroker()
    subscribe(subscriber, hears(office.pool), DeadLetters(None, "scheduling"))  # type: ignore[arg-type]
    assert len(list(subscriber.subscribers)) == 1
    assert unsafe_subscribers(subscriber) == []
