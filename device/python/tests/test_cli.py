"""`zb-device`: the same promises from a command line, and `serve` answers every line, whatever stands in it."""

import asyncio
import json
import os
import sys

import pytest_asyncio

PIN = "271828"


@pytest_asyncio.fixture
async def folder(device, tmp_path):
    await device.close()
    return tmp_path / "device"


async def called(folder, *arguments: str, pin: str | None = PIN, stdin: bytes = b"") -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one `zb-device`."""
    environment = os.environ | ({"ZB_DEVICE_PIN": pin} if pin else {})
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "zb_device",
        "--folder",
        str(folder),
        "--json",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, err = await asyncio.wait_for(process.communicate(stdin), 60)
    return process.returncode or 0, out.decode(), err.decode()


async def test_a_day_from_the_command_line(folder):
    for arguments in (
        ("start", "leaky-boiler"),
        ("use-part", "leaky-boiler", "seal-12", "2"),
        ("done", "leaky-boiler", "--work-done", "new seal"),
    ):
        code, _, err = await called(folder, *arguments)
        assert code == 0, err
    _, out, _ = await called(folder, "show", "leaky-boiler")
    shown = json.loads(out)
    assert (shown["state"]["status"], len(shown["pending"])) == ("done", 3)
    _, out, _ = await called(folder, "status", pin=None)
    assert (json.loads(out)["events"]["queued"], json.loads(out)["unlocked"]) == (4, False)


async def test_a_refusal_is_one_sentence_and_exit_code_one(folder, tmp_path):
    for arguments, expected in (
        (("done", "leaky-boiler"), "device.visit"),
        (("do", "record", "type=intervention.nonsense.v1", "intervention=leaky-boiler"), "device.record_invalid"),
        (("do", "dance"), "device.command_invalid"),
    ):
        code, out, err = await called(folder, *arguments)
        assert (code, out) == (1, "")
        assert err.count("\n") == 1
        assert expected in err
    code, _, err = await called(tmp_path / "nowhere", "status")
    assert (code, "device.not_enrolled" in err) == (1, True)


async def test_serve_answers_every_line_and_ends_with_its_input(folder):
    lines = [
        b'{"command": "record", "type": "intervention.started.v1", "intervention": "leaky-boiler", "id": 7}',
        b"no json at all",
        b"[1, 2]",
        b'{"command": "record"}',
        b'{"command": "show", "intervention": "x", "surprise": 1}',
        b'{"pad": "' + b"x" * 2_000_000 + b'"}',
        b'{"command": "list"}',
    ]
    code, out, err = await called(folder, "serve", "--offline", stdin=b"\n".join(lines) + b"\n")
    assert code == 0, err
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["ok"] for answer in answers] == [True, False, False, False, False, False, True]
    assert (answers[0]["id"], answers[0]["result"]["seq"]) == (7, 1)
    assert {answer["code"] for answer in answers[1:6]} == {"device.command_invalid"}
    assert answers[6]["result"][0]["status"] == "in_progress"
