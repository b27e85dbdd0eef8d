"""The auditor's commands as an auditor runs them: a process, its output, its exit code."""

import asyncio
import json
import sys
from typing import Any

from zb_contracts.events.fieldwork import Started
from zb_contracts.events.office import Assigned, Cancelled, InterventionCreated
from zb_contracts.events.places import StockMoved

BOILER = "11111111-1111-4111-8111-111111111111"
MAIN = "import click; from field_ingest.audit.commands import COMMANDS; click.Group(commands=list(COMMANDS))()"


async def run(database: str, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        MAIN,
        *arguments,
        env={"ZB_INGEST_DATABASE_URL": database, "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_replay_explain_and_state_hash_agree(company: Any, office: Any, database: str) -> None:
    created = InterventionCreated(reference="W-1", kind="repair", title="leaky boiler", site="site-1", agency="main")
    await company.record(office, f"intervention:{BOILER}", created)
    await company.project()
    (
        (code, replayed, shown),
        (_, hashed, _),
        (_, french, _),
        (_, decisions, _),
        (unknown, _, why),
        (_, by_number, _),
    ) = await asyncio.gather(
        run(database, "replay"),
        run(database, "state-hash"),
        run(database, "explain", BOILER),
        run(database, "explain", BOILER, "--field", "title", "--language", "en", "--json"),
        run(database, "explain", "22222222-2222-4222-8222-222222222222"),
        run(database, "explain", "W-1"),
    )
    result = json.loads(replayed)
    assert (code, result["same"], result["events"]) == (0, True, 1)
    assert result["state_hash"] == json.loads(hashed)["state_hash"]
    assert "1 of 1 rows" in shown
    assert "title: " in french
    assert by_number == french
    assert json.loads(decisions)["rule"]
    assert (unknown, "there is no intervention" in why) == (1, True)


async def test_explain_says_what_both_events_had_seen_and_what_was_learned_later(
    company: Any, office: Any, camille: Any, database: str
) -> None:
    """The office cancelled while the technician, off line, began; and the start was not readable when it came."""
    stream, visit = f"intervention:{BOILER}", "019ac333-0000-7000-8000-000000000001"
    await company.record(
        office, stream, InterventionCreated(reference="W-1", kind="repair", title="leaky boiler", site="site-1", agency="main")
    )
    start = company.write(camille, stream, Started(), visit=visit, event_id=visit)
    await company.record(office, stream, Cancelled(reason="the customer called"))
    await company.admit(start)
    await company.pool.execute(
        "UPDATE ledger SET facts = $1 WHERE event_id = $2", b'{"opaque":"the type is unknown to these rules"}', visit
    )
    await company.project()
    (_, english, _), (_, french, _), (code, _, why) = await asyncio.gather(
        run(database, "explain", "W-1", "--field", "cancelled", "--language", "en"),
        run(database, "explain", "W-1", "--field", "cancelled"),
        run(database, "explain", "W-1", "--field", "colour"),
    )
    assert "cancelled: cancellation: set aside, because work began (the field, 2026-11-23 10:00 UTC) without knowing" in english
    assert (
        f"    the field device-a-1 no. 1 (intervention.started.v1, event {visit}) had seen office-main up to no. 1, " in english
    )
    assert "had seen nothing of device-a-1, so it did not know no. 1." in english
    assert "it is read since version 1 of the rules." in english
    assert "ne connaissait rien de device-a-1, donc pas le n° 1." in french
    assert (code, "colour is no field of intervention:" in why, "planned_start" in why) == (1, True, True)


async def test_a_replay_that_differs_ends_with_exit_code_1(company: Any, office: Any, database: str) -> None:
    created = InterventionCreated(reference="W-1", kind="repair", title="leaky boiler", site="site-1", agency="main")
    await company.record(office, f"intervention:{BOILER}", created)
    await company.project()
    await company.pool.execute("UPDATE states SET state_hash = $1", bytes(32))
    code, replayed, _ = await run(database, "replay", "--quiet")
    assert (code, json.loads(replayed)["same"]) == (1, False)


async def test_diff_says_which_fields_differ_from_what_to_what_and_because_of_which_events(
    company: Any, office: Any, camille: Any, database: str
) -> None:
    stream = f"intervention:{BOILER}"
    created = InterventionCreated(reference="W-1", kind="repair", title="leaky boiler", site="site-1", agency="main")
    await company.record(office, stream, created)
    assigned = await company.record(office, stream, Assigned(assignee="camille"))
    await company.record(office, "stock:van-camille", StockMoved(part="p-1", quantity="-1", cause="used"))
    await company.project()
    (code, out, _), (same, _, _), (bad, _, why), (rules, by_rules, _), (_, text, _) = await asyncio.gather(
        run(database, "diff", "0:0", "now", "--intervention", "W-1", "--json"),
        run(database, "diff", "now", "now"),
        run(database, "diff", "0:9", "now"),
        run(database, "diff", "rules:1", "rules:2", "--json"),
        run(database, "diff", "0:0", "0:1"),
    )
    difference = json.loads(out.splitlines()[0])
    changes = {change["field"]: change for change in difference["changes"]}
    assert (code, same, bad) == (1, 0, 2)
    assert "no position 9" in why
    assert difference["come"] == [assigned]
    assert changes["fields.assignee"] == {
        "field": "fields.assignee",
        "before": None,
        "after": "camille",
        "because": [assigned],
    }
    assert changes["status"] == {"field": "status", "before": "draft", "after": "assigned", "because": [assigned]}
    # Rules 2 count what a stock's state does not list.
    assert rules == 1
    assert [json.loads(line).get("stream") for line in by_rules.splitlines()] == ["stock:van-camille", None]
    assert f'fields.assignee: null -> "camille"  because of {assigned}' in text
