"""The auditor's commands as an auditor runs them: a process, its output, its exit code."""

import asyncio
import json
import sys
from typing import Any

from zb_contracts.events.office import InterventionCreated

BOILER = "11111111-1111-4111-8111-111111111111"
MAIN = "import click; from field_ingest.audit_commands import COMMANDS; click.Group(commands=list(COMMANDS))()"


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


async def test_a_replay_that_differs_ends_with_exit_code_1(company: Any, office: Any, database: str) -> None:
    created = InterventionCreated(reference="W-1", kind="repair", title="leaky boiler", site="site-1", agency="main")
    await company.record(office, f"intervention:{BOILER}", created)
    await company.project()
    await company.pool.execute("UPDATE states SET state_hash = $1", bytes(32))
    code, replayed, _ = await run(database, "replay", "--quiet")
    assert (code, json.loads(replayed)["same"]) == (1, False)
