"""Wrong requests over HTTP on the running platform: each gets its named problem (RFC 9457), and nothing is half done.

The sweep asks every service for its own list of endpoints and calls each without a role.
"""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest

from zb.play.stage import Stage
from zb.stack import ISSUER, PARTS
from zb_contracts.problems import PROBLEMS

HEAD = "reference,name,street,postcode,town,country,latitude,longitude"
TIMEOUT_S = 30
OPERATIONS = {"/health", "/ready", "/metrics"}
# Who calls these proves it in the body, or proves nothing because nothing is given away.
PUBLIC = {
    ("field-ingest", "post", "/v1/enrolments"),
    ("field-ingest", "get", "/v1/time"),
    ("field-ingest", "get", "/v1/keys"),
    ("media", "options", "/v1/uploads"),
    ("media", "options", "/v1/uploads/{sha256}"),
}
MALFORMED = {
    "cut": b"{",
    "empty": b"",
    "a cut list": b"[1,2",
    "no UTF-8": b"\xff\xfe",
    "a field is missing": b'{"technician": "ana"}',
    "a field too many": b'{"agency": "main", "technician": "ana", "nonsense": 1}',
    "null": b"null",
    "nested too deeply": b"[" * 5000,
}
GARBAGE_TOKENS = {
    "no token": "",
    "an empty bearer": "Bearer",
    "another scheme": "Basic ZGlzcGF0Y2hlcjpzZWNyZXQ=",
    "garbage": "Bearer not-a-token",
    "no signature": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJkaXNwYXRjaGVyIiwicm9sZXMiOlsiZGlzcGF0Y2hlciJdfQ.",
    "expired and forged": "Bearer eyJhbGciOiJFUzI1NiJ9.eyJleHAiOjF9.c2lnbmF0dXJl",
}


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=TIMEOUT_S) as client:
        yield client


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of a refusal, which has to be whole and listed."""
    assert response.headers["content-type"] == "application/problem+json", response.text[:500]
    document: dict[str, Any] = response.json()
    assert (response.status_code, document["code"]) == (status, code), document
    assert document["status"] == status
    assert document["type"] == f"urn:zone-blanche:problem:{code}"
    assert code in PROBLEMS
    assert PROBLEMS[code].retryable is document["retryable"]
    assert document["detail"]
    assert "Traceback" not in response.text
    return document


def bearer(stage: Stage, name: str) -> dict[str, str]:
    """The Authorization of a person."""
    return {"Authorization": f"Bearer {_token(stage.stack.services[ISSUER].url, name, stage.stack.passwords[name])}"}


@cache
def _token(issuer: str, name: str, password: str) -> str:
    """From the issuer, once: it lives for fifteen minutes, and hashing a password takes its time."""
    form = {"grant_type": "password", "client_id": "zb", "username": name, "password": password}
    return str(httpx.post(f"{issuer}/token", data=form, timeout=TIMEOUT_S).raise_for_status().json()["access_token"])


# --- bodies ---


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_a_body_that_is_not_the_contracts_is_invalid(platform: Stage, http: httpx.Client, body: bytes) -> None:
    headers = {**bearer(platform, "administrator"), "Content-Type": "application/json"}
    response = http.post(platform.url("field-ingest", "enrolment-codes"), content=body, headers=headers)
    assert problem(response, 422, "input.invalid")["errors"]


@pytest.mark.parametrize("body", [{}, {"agency": "main", "day": "2026-02-30"}, {"agency": 7, "day": "2026-03-16"}])
def test_a_wrong_field_is_named(platform: Stage, http: httpx.Client, body: dict[str, Any]) -> None:
    response = http.post(platform.url("scheduling", "plans"), json=body, headers=bearer(platform, "dispatcher"))
    named = {str(error["field"]) for error in problem(response, 422, "input.invalid")["errors"]}
    assert any("day" in field or "agency" in field for field in named)


@pytest.mark.parametrize("text", ["a\x00b", "\x00"])
def test_a_nul_byte_is_refused_not_stored(platform: Stage, http: httpx.Client, text: str) -> None:
    body = {"agency": "main", "reference": text, "kind": "repair", "title": text, "site_reference": text}
    response = http.post(platform.url("scheduling", "interventions"), json=body, headers=bearer(platform, "dispatcher"))
    problem(response, 422, "input.invalid")


def test_a_nul_byte_in_a_path_or_query_is_refused(platform: Stage, http: httpx.Client) -> None:
    headers = bearer(platform, "auditor")
    response = http.get(platform.url("field-ingest", "ledger/a%00b"), headers=headers)
    problem(response, 422, "input.invalid")
    response = http.get(platform.url("field-ingest", "rejects?subject=a%00b"), headers=headers)
    problem(response, 422, "input.invalid")
    response = http.get(platform.url("billing-bridge", "batches?profile=a%00b"), headers=headers)
    assert response.status_code in (404, 422), response.text


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(platform: Stage) -> None:
    service = platform.stack.services["scheduling"]
    headers = {**bearer(platform, "integrator"), "Content-Type": "text/csv", "Content-Length": str(1 << 40)}
    connection = HTTPConnection("127.0.0.1", service.port, timeout=TIMEOUT_S)
    with closing(connection):
        connection.request("POST", "/v1/imports/sites", headers=headers)  # and not one byte of it
        answer = connection.getresponse()
        assert answer.status == 413
        assert json.loads(answer.read())["code"] == "input.too_large"


def test_a_long_body_of_undeclared_length_is_refused(platform: Stage, http: httpx.Client) -> None:
    blocks = (b"x" * (1 << 20) for _ in range(40))
    headers = {**bearer(platform, "integrator"), "Content-Type": "text/csv"}
    problem(http.post(platform.url("scheduling", "imports/sites"), content=blocks, headers=headers), 413, "input.too_large")


# --- paths and methods ---


@pytest.mark.parametrize("service", PARTS)
def test_an_unknown_path_is_not_found(platform: Stage, http: httpx.Client, service: str) -> None:
    problem(http.get(platform.url(service, "nothing/here")), 404, "input.not_found")


@pytest.mark.parametrize(
    ("service", "path"),
    [("field-ingest", "enrolments"), ("scheduling", "plans"), ("media", "uploads"), ("billing-bridge", "waiting")],
)
def test_a_wrong_method_is_named(platform: Stage, http: httpx.Client, service: str, path: str) -> None:
    problem(http.delete(platform.url(service, path)), 405, "input.method")


@pytest.mark.parametrize("name", ["0", "x", "01234567-89ab-cdef-0123-456789abcdeg", "%2e%2e%2fetc", "é"])
def test_an_id_that_is_none_is_refused_by_every_reader(platform: Stage, http: httpx.Client, name: str) -> None:
    for service, path in (("field-ingest", "state"), ("scheduling", ""), ("media", "evidence")):
        url = platform.url(service, f"interventions/{name}/{path}".rstrip("/"))
        response = http.get(url, headers=bearer(platform, "auditor"))
        assert response.status_code in (404, 422)
        problem(response, response.status_code, response.json()["code"])


def test_an_intervention_that_is_not_there_is_not_found(platform: Stage, http: httpx.Client) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    headers = bearer(platform, "auditor")
    for service, path in (("field-ingest", "/state"), ("scheduling", ""), ("media", "/evidence")):
        problem(http.get(platform.url(service, f"interventions/{unknown}{path}"), headers=headers), 404, "input.not_found")


# --- who calls ---


@pytest.mark.parametrize("header", GARBAGE_TOKENS.values(), ids=GARBAGE_TOKENS)
@pytest.mark.parametrize(("service", "path"), [("scheduling", "board?day=2026-03-16"), ("billing-bridge", "waiting")])
def test_a_token_that_proves_nothing_is_refused(
    platform: Stage, http: httpx.Client, service: str, path: str, header: str
) -> None:
    response = http.get(platform.url(service, path), headers={"Authorization": header} if header else {})
    problem(response, 401, "access.unauthenticated")


def test_a_real_token_with_a_letter_changed_is_refused(platform: Stage, http: httpx.Client) -> None:
    token = bearer(platform, "auditor")["Authorization"]
    head, claims, signature = token.split(".")
    other = "A" if claims[10] != "A" else "B"
    forged = f"{head}.{claims[:10]}{other}{claims[11:]}.{signature}"
    response = http.get(platform.url("billing-bridge", "waiting"), headers={"Authorization": forged})
    problem(response, 401, "access.unauthenticated")


def test_another_role_is_forbidden_by_name(platform: Stage, http: httpx.Client) -> None:
    headers = bearer(platform, "auditor")
    response = http.post(platform.url("scheduling", "plans"), json={"agency": "main", "day": "2026-03-16"}, headers=headers)
    assert "dispatcher" in problem(response, 403, "access.forbidden")["detail"]


def test_a_wrong_password_is_refused_like_an_unknown_name(platform: Stage, http: httpx.Client) -> None:
    said = []
    for name in ("planner-of-old", "nobody"):
        form = {"grant_type": "password", "client_id": "zb", "username": name, "password": "guess"}
        response = http.post(f"{platform.stack.services[ISSUER].url}/token", data=form)
        said.append(problem(response, 401, "access.unauthenticated")["detail"])
    assert said[0] == said[1]


def test_an_enrolment_code_that_was_guessed_enrols_nobody(platform: Stage, http: httpx.Client) -> None:
    response = http.post(platform.url("field-ingest", "enrolments"), json={"code": "AAAA-BBBB"})
    problem(response, 422, "input.invalid")


@pytest.mark.parametrize("service", PARTS)
def test_no_endpoint_answers_somebody_without_a_role(platform: Stage, http: httpx.Client, service: str) -> None:
    called = 0
    for method, path in endpoints(platform, http, service):
        if (service, method, path) in PUBLIC:
            continue
        url = platform.stack.services[service].url + filled(path)
        response = http.request(method, url, json={} if method in ("post", "put", "patch") else None)
        assert response.status_code in (401, 403), f"{method} {path} answered {response.status_code}: {response.text[:200]}"
        if method != "head":
            assert response.json()["code"].startswith("access.")
        called += 1
    assert called > 0


def endpoints(platform: Stage, http: httpx.Client, service: str) -> list[tuple[str, str]]:
    """Method and path of each endpoint that the service declares."""
    document = http.get(platform.url(service, "openapi.json")).raise_for_status().json()
    return [(method, path) for path, item in document["paths"].items() if path not in OPERATIONS for method in item]


def filled(path: str) -> str:
    """The path with something plausible in each place."""
    path = path.replace("{intervention}", "00000000-0000-4000-8000-000000000000").replace("{sha256}", "0" * 64)
    return re.sub(r"\{(batch|shard|number)\}", "1", re.sub(r"\{(?!batch|shard|number)[^}]*\}", "main", path))


# --- files ---


def sites(platform: Stage, http: httpx.Client, data: bytes, **query: str) -> httpx.Response:
    headers = {**bearer(platform, "integrator"), "Content-Type": "text/csv"}
    return http.post(platform.url("scheduling", "imports/sites"), content=data, params=query, headers=headers)


def row(reference: str, name: str = "Le Pré", latitude: str = "45.1") -> str:
    return f"{reference},{name},1 rue du Four,26420,Vassieux,FR,{latitude},5.3"


def test_a_file_in_an_unknown_encoding_is_refused(platform: Stage, http: httpx.Client) -> None:
    problem(sites(platform, http, f"{HEAD}\n{row('BAD-1')}\n".encode("utf-16")), 422, "input.encoding")
    problem(sites(platform, http, f"{HEAD}\n".encode() + b"BAD-1,\x81\x8d\x8f\x90\x9d,,,,,,\n"), 422, "input.encoding")


def test_missing_columns_are_named(platform: Stage, http: httpx.Client) -> None:
    detail = problem(sites(platform, http, b"reference,name\nBAD-1,x\n"), 422, "input.columns")["detail"]
    assert "town" in detail
    assert "country" in detail


def test_wrong_numbers_are_named_with_row_and_column_and_nothing_is_taken(platform: Stage, http: httpx.Client) -> None:
    data = "\n".join([HEAD, row("BAD-GOOD"), row("BAD-2", latitude="north"), row("BAD-3", latitude="91"), row("BAD-4", "")])
    errors = problem(sites(platform, http, data.encode()), 422, "input.rows")["errors"]
    assert {(error["row"], error["column"]) for error in errors} == {(3, "latitude"), (4, "latitude"), (5, "name")}
    report = sites(platform, http, f"{HEAD}\n{row('BAD-GOOD')}\n".encode()).raise_for_status().json()
    assert [taken["outcome"] for taken in report["rows"]] == ["created"]  # the good row of the refused file was not kept


def test_a_nul_byte_in_a_file_is_named_by_its_row(platform: Stage, http: httpx.Client) -> None:
    response = sites(platform, http, f"{HEAD}\n{row('BAD-5', 'Le' + chr(0) + 'Pré')}\n".encode())
    assert response.status_code == 422, response.text
    problem(response, 422, response.json()["code"])


def test_a_file_sent_as_json_is_refused(platform: Stage, http: httpx.Client) -> None:
    headers = {**bearer(platform, "integrator"), "Content-Type": "application/json"}
    response = http.post(platform.url("scheduling", "imports/sites"), content=json.dumps([]), headers=headers)
    problem(response, 422, "input.invalid")


# --- uploads, as no device ---


def test_an_upload_without_a_devices_proof_is_refused(platform: Stage, http: httpx.Client) -> None:
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "3", **bearer(platform, "dispatcher")}
    problem(http.post(platform.url("media", "uploads"), headers=headers), 401, "access.unauthenticated")
