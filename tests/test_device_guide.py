"""docs/device-sdk.md keeps its word: every Python block runs, in order, on a real platform, and then every line of its shell.

Its tables are compared with the code: states, what is waited for, policies, refusals.
"""

import ast
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import uuid
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx

import zb_device
from zb.play.stage import Stage, in_thread
from zb.stack import ISSUER
from zb_chassis.users import add_user
from zb_contracts.invitation import Invitation
from zb_device import DeviceFault, Standing, WaitsFor
from zb_device.policies import POLICIES

GUIDE = Path(__file__).resolve().parent.parent / "docs" / "device-sdk.md"
PIN = "271828"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


async def test_every_snippet_of_the_guide_runs(platform: Stage, tmp_path: Path) -> None:
    picture, folder = tmp_path / "before.jpg", tmp_path / "handheld"
    picture.write_bytes(b"a photo of a boiler")
    names: dict[str, Any] = {
        "folder": str(folder),
        "picture": picture,
        "intervention": str(uuid.uuid4()),
        "other_intervention": str(uuid.uuid4()),
        "invitation": await invitation(platform, "emil"),
        "pool_invitation": await invitation(platform, None),
        "nadia_token": await token_of_a_technician(platform, "nadia"),
    }
    for block in blocks("python"):
        code = compile(block, str(GUIDE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)  # noqa: S307 - our own page
        if inspect.iscoroutine(result):
            await result

    (shell,) = blocks("sh")
    said = [await in_thread(run, line.format_map(names), folder) for line in shell.splitlines()]
    assert said[0]["events"][-1]["state"] == "queued"
    assert [line["intervention"] for line in said[2]] == [names["other_intervention"]]
    assert said[3]["sent"] == 2
    assert said[4]["technician"] == "emil"


def test_its_tables_have_every_state_reason_policy_and_refusal_and_nothing_else() -> None:
    assert table("state")[0] == [state.value for state in Standing]
    assert set(", ".join(table("`waits_for`")[0]).replace("`", "").split(", ")) == {reason.value for reason in WaitsFor}
    assert table("policy")[0] == list(POLICIES)
    names, codes, _ = table("class")
    assert dict(zip(names, codes, strict=True)) == {fault.__name__: fault.code for fault in every(DeviceFault)}


def test_its_names_are_exported_and_its_calls_exist() -> None:
    imported = re.findall(r"^from zb_device import (.+)$", "\n".join(blocks("python")), re.MULTILINE)
    assert {name for names in imported for name in names.split(", ")} <= {*zb_device.__all__, "blocking"}
    called = set(re.findall(r"`device\.(\w+)\(", GUIDE.read_text()))
    assert called
    assert called <= set(dir(zb_device.Device))


def table(head: str) -> list[list[str]]:
    """The columns of the table whose first head is this, without their backquotes where a cell is one name."""
    lines = GUIDE.read_text().split(f"\n| {head} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    cells = [[cell.strip().removeprefix("`").removesuffix("`") for cell in line.strip("|").split("|")] for line in lines]
    return [list(column) for column in zip(*cells, strict=True)]


def every(kind: type[DeviceFault]) -> set[type[DeviceFault]]:
    """All refusals of the device, without the name for all of them."""
    below = set(kind.__subclasses__())
    return below.union(*map(every, below))


async def token_of_a_technician(platform: Stage, name: str) -> str:
    """As an app gets it from the identity provider."""
    stack = platform.stack
    await in_thread(add_user, stack.folder / "issuer", name, PIN, ("technician",), ("main",))
    form = {"grant_type": "password", "client_id": "zb", "username": name, "password": PIN}
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{stack.services[ISSUER].url}/token", data=form)
    return str(answer.raise_for_status().json()["access_token"])


async def invitation(platform: Stage, technician: str | None) -> str:
    """As `zb fleet invite` prints it."""
    url = platform.url("field-ingest", "enrolment-codes")
    issued = await in_thread(platform.person("administrator").post, url, {"agency": "main", "technician": technician})
    services, stack = platform.stack.services, platform.stack
    root = bytes.fromhex((stack.folder / "keys" / "root.pub").read_text().strip())
    return Invitation(
        code=issued["code"],
        ingest=services["field-ingest"].url,
        nats=stack.nats.url,
        media=services["media"].url,
        root=sha256(root).hexdigest(),
    ).to_text()


def run(line: str, folder: Path) -> Any:
    program, *arguments = shlex.split(line)
    assert program == "zb-device"
    environment = {**os.environ, "ZB_DEVICE_FOLDER": str(folder), "ZB_DEVICE_PIN": PIN}
    command = [sys.executable, "-m", "zb_device", "--json", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
