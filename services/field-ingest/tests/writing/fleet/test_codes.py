"""One-time codes over HTTP: issued one by one or from a file, listed by what became of them, taken back."""

import json
from typing import Any

import pytest

from field_ingest.devices.codes import code_hash


async def test_codes_are_listed_by_what_became_of_them_and_taken_back(office: Any) -> None:
    house = office.house
    short = await office.done("noor", "POST", "enrolment-codes", {"agency": "north", "technician": "camille", "valid_s": 60})
    house.now_ms += 1
    long = await office.done("noor", "POST", "enrolment-codes", {"agency": "north-lille"})
    assert await office.refused("sam", "DELETE", f"enrolment-codes/{long['id']}") == (404, "input.not_found")
    taken = [await office.done("noor", "DELETE", f"enrolment-codes/{long['id']}") for _ in range(2)]
    assert taken[0] == taken[1]
    assert (taken[0]["state"], taken[0]["revoked_by"], taken[0]["issued_by"]) == ("revoked", "noor", "noor")
    house.now_ms += 60_000
    listed = await office.done("noor", "GET", "enrolment-codes")
    assert [(one["id"], one["state"]) for one in listed["codes"]] == [(long["id"], "revoked"), (short["id"], "expired")]
    assert listed["next"] is None
    assert (await office.done("sam", "GET", "enrolment-codes"))["codes"] == []
    assert short["code"] not in json.dumps(listed)
    noted = await house.pool.fetch("SELECT reader, action, object FROM chassis.access_log ORDER BY number")
    assert [tuple(row) for row in noted[-2:]] == [("noor", "take a code back", f"code:{long['id']}")] * 2


async def test_a_code_in_the_name_of_another_agencys_technician_is_refused(office: Any) -> None:
    """It would open on a device of ours what he may read there: all his interventions, sites and contacts."""
    await office.hire("d-south", "south")  # camille's
    code = {"agency": "north", "technician": "camille"}
    assert await office.refused("noor", "POST", "enrolment-codes", code) == (403, "access.wrong_agency")
    assert (await office.ask("ada", "POST", "enrolment-codes", code)).status_code == 201
    await office.done("sam", "POST", "devices/d-south/revocation", {"cause": "retired"})
    assert (await office.ask("noor", "POST", "enrolment-codes", code)).status_code == 201
    # Not his device now, but his work.
    await office.house.pool.execute(
        "INSERT INTO states (stream, kind, rule_version, state, state_hash, vector, positions, version, changed_ms)"
        " VALUES ('intervention:boiler', 'intervention', 2, $1, $2, '', '', 1, 1)",
        b'{"fields":{"agency":{"value":"south"}}}',
        bytes(32),
    )
    await office.house.pool.execute(
        "INSERT INTO scope_member (technician, intervention, held) VALUES ('camille', 'intervention:boiler', false)"
    )
    assert await office.refused("noor", "POST", "enrolment-codes", code) == (403, "access.wrong_agency")


async def test_a_used_code_cannot_be_taken_back(office: Any) -> None:
    issued = await office.done("noor", "POST", "enrolment-codes", {"agency": "north"})
    answer = b'{"device":"d-new"}'
    await office.house.pool.execute("UPDATE enrolment_codes SET used_at_ms = issued_at_ms, answer = $1", answer)
    assert await office.refused("noor", "DELETE", f"enrolment-codes/{issued['id']}") == (409, "fleet.code_used")


# --- Many at once ---


async def test_a_file_of_a_thousand_rows_is_a_thousand_codes(office: Any) -> None:
    lines = ["agency;technician;valid_hours", *(f"north;tech-{number};48" for number in range(999)), "north-lille;;"]
    answer = await office.file("noor", "invitations", "\n".join(lines).encode())
    assert answer.status_code == 201, answer.text
    codes = answer.json()["codes"]
    assert [one["row"] for one in codes] == list(range(2, 1002))
    assert (codes[0]["technician"], codes[-1]["agency"], codes[-1]["technician"]) == ("tech-0", "north-lille", None)
    assert len({one["code"] for one in codes}) == 1000
    hashes = {bytes(row[0]) for row in await office.house.pool.fetch("SELECT code_hash FROM enrolment_codes")}
    assert hashes == {code_hash(one["code"]) for one in codes}
    listed = (await office.done("noor", "GET", "enrolment-codes", agency="north-lille"))["codes"]
    assert [(one["id"], one["state"], one["issued_by"]) for one in listed] == [(codes[-1]["id"], "open", "noor")]
    noted = await office.house.pool.fetch("SELECT action, object FROM chassis.access_log ORDER BY number")
    assert [tuple(row) for row in noted[-2:]] == [
        ("issue 1000 codes", "agency:north"),
        ("issue 1000 codes", "agency:north-lille"),
    ]


async def test_each_wrong_row_is_named_and_no_code_is_issued_unless_the_good_ones_are_asked_for(office: Any) -> None:
    await office.done("ada", "PUT", "agencies/west", {"parent": "north", "name": "West"})
    await office.done("ada", "DELETE", "agencies/west")
    await office.hire("d-south", "south")  # camille's
    rows = [
        "north,ana,24",
        "south,ben,24",
        "west,chloe,24",
        "north,Not An Id,24",
        "north,dan,9999",
        ",eva,24",
        "north,fay",
        "north,gil,1",
        "north,camille,1",
    ]
    data = "\n".join(["agency,technician,valid_hours", *rows]).encode()
    answer = await office.file("noor", "invitations", data)
    assert (answer.status_code, answer.json()["code"]) == (422, "input.rows")
    assert [(one["row"], one["column"]) for one in answer.json()["errors"]] == [
        (3, "agency"),
        (4, "agency"),
        (5, "technician"),
        (6, "valid_hours"),
        (7, "agency"),
        (8, ""),
        (10, "technician"),
    ]
    assert await office.house.pool.fetchval("SELECT count(*) FROM enrolment_codes") == 0
    answer = await office.file("noor", "invitations", data, mode="good-rows")
    assert [one["technician"] for one in answer.json()["codes"]] == ["ana", "gil"]
    assert len(answer.json()["errors"]) == 7


async def test_a_list_is_as_good_as_a_file(office: Any) -> None:
    rows = [{"agency": "north", "technician": "ana"}, {"agency": "north-lille", "technician": None, "valid_hours": 1}]
    answer = await office.done("noor", "POST", "invitations", {"invitations": rows})
    assert [(one["row"], one["agency"]) for one in answer["codes"]] == [(1, "north"), (2, "north-lille")]
    wrong = {"invitations": [rows[0], {"agency": "north", "device": "d-1"}]}
    assert await office.refused("noor", "POST", "invitations", wrong) == (422, "input.rows")


@pytest.mark.parametrize(
    ("content_type", "data", "code"),
    [
        ("text/plain", b"agency\nnorth\n", "input.invalid"),
        ("text/csv", b"technician\nana\n", "input.columns"),
        ("text/csv", b"agency\n" + b"north\n" * 10_001, "input.invalid"),
        ("application/json", b"[", "input.invalid"),
        ("application/json", b'{"invitations": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", "input.invalid"),
        ("application/json", b'{"invitations": [' + b"{}," * 10_000 + b"{}]}", "input.invalid"),
    ],
)
async def test_what_is_no_list_of_invitations_is_refused_whole(office: Any, content_type: str, data: bytes, code: str) -> None:
    answer = await office.file("noor", "invitations", data, content_type)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert await office.house.pool.fetchval("SELECT count(*) FROM enrolment_codes") == 0
