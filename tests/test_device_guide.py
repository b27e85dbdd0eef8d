"""docs/device-sdk.md keeps its word: every Python block runs, in order, on a real platform, and then every line of its shell."""

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

from zb.play.stage import Stage, in_thread
from zb_contracts.invitation import Invitation

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
        "invitation": await invitation(platform),
    }
    for block in blocks("python"):
        code = compile(block, str(GUIDE), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)  # noqa: S307 - our own page
        if inspect.iscoroutine(result):
            await result

    (shell,) = blocks("sh")
    said = [await in_thread(run, line.format_map(names), folder) for line in shell.splitlines()]
    assert said[0]["events"][-1]["state"] == "queued"
    assert said[2]["sent"] == 2
    assert said[3]["technician"] == "emil"


async def invitation(platform: Stage) -> str:
    """As `zb fleet invite` prints it."""
    url = platform.url("field-ingest", "enrolment-codes")
    issued = await in_thread(platform.person("administrator").post, url, {"agency": "main", "technician": "emil"})
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
