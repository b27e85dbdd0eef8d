"""`zb-device`: the same promises from a command line, and `serve` answers every line, whatever stands in it."""

import asyncio
import json
import os
import re
import sys

import pytest
import pytest_asyncio
from click.testing import CliRunner

from zb_device import cli
from zb_device.command_register import Section
from zb_device.faults import DeviceFault, SessionExpired
from zb_device.policies import WaitsFor
from zb_device.reading_right import ReadingRight
from zb_device.standing import Standing
from zb_device.wording import ANSWERS, FAULTS, STATES, STATUSES, WAITS

pytestmark = pytest.mark.full_stretching  # other processes open the store
PIN = "271828"


@pytest_asyncio.fixture
async def folder(device, tmp_path):
    await device.close()
    return tmp_path / "device"


async def called(folder, *arguments: str, is_json: bool = True) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one `zb-device`, in this process, with the PIN in its environment."""
    said = ["--folder", str(folder), *(["--json"] if is_json else []), *arguments]
    done = await asyncio.to_thread(CliRunner().invoke, cli.main, said, env={cli.PIN_VARIABLE: PIN}, catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


async def as_a_process(folder, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    """The same of a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "zb_device", "--folder", str(folder), "--json", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {cli.PIN_VARIABLE: PIN},
    )
    out, err = await asyncio.wait_for(process.communicate(stdin), 60)
    return process.returncode or 0, out.decode(), err.decode()


async def test_a_session_that_ended_stops_neither_recording_nor_a_status(folder, monkeypatch):
    """The PIN is in the environment all the same, and what reads is refused by name."""

    def ended(self, technician):
        raise SessionExpired("the session has ended")

    monkeypatch.setattr(ReadingRight, "check", ended)
    code, out, err = await called(folder, "comment", "leaky-boiler", "on the eleventh day")
    assert (code, json.loads(err)["code"]) == (0, "device.session_expired")
    assert json.loads(out)["seq"] == 1
    assert (await called(folder, "status"))[0] == 0
    code, _, err = await called(folder, "show", "leaky-boiler")
    assert (code, json.loads(err)["code"]) == (1, "device.session_expired")


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
    _, out, _ = await as_a_process(folder, "status")
    assert (json.loads(out)["events"]["queued"], json.loads(out)["unlocked"]) == (4, True)


async def test_a_refusal_is_one_line_and_the_exit_code_says_whether_to_try_again(folder, tmp_path):
    for arguments, expected in (
        (("done", "leaky-boiler"), (1, "device.visit", False)),
        (("record", "intervention.nonsense.v1", "--intervention", "leaky-boiler"), (1, "device.record_invalid", False)),
        (("sync",), (75, "device.unreachable", True)),
    ):
        code, out, err = await called(folder, *arguments)
        said = json.loads(err)
        assert (code, said["code"], said["retryable"], out) == (*expected, "")
    code, _, err = await called(tmp_path / "nowhere", "status")
    assert (code, json.loads(err)["code"]) == (1, "device.not_enrolled")


async def test_a_person_reads_what_waits_in_their_language(folder):
    await called(folder, "start", "leaky-boiler")
    for language, state, reason in (
        ("fr", "sur cet appareil seulement", "le prochain contact"),
        ("en", "on this device only", "the next contact"),
    ):
        _, out, _ = await called(folder, "--language", language, "outbox", is_json=False)
        assert re.search(rf"1 +\d+ s +{state} +{reason} +intervention.started.v1", out), out
    _, out, _ = await called(folder, "--language", "fr", "list", is_json=False)
    assert "en cours *" in out
    _, out, _ = await called(folder, "--language", "fr", "status", is_json=False)
    assert "1 (sur cet appareil seulement)" in out
    _, out, _ = await called(folder, "--language", "fr", "comment", "leaky-boiler", "de l'eau", is_json=False)
    assert re.match(r"2 +intervention.comment_added.v1 +sur cet appareil seulement", out)
    code, _, err = await called(folder, "--language", "fr", "done", "dry-cellar", is_json=False)
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("Cette étape ne convient pas à la visite.")
    assert err.endswith("(device.visit)\n")


async def test_photos_of_one_call_wait_for_what_the_caller_says_of_link_and_charge(folder, tmp_path):
    picture = tmp_path / "boiler.jpg"
    picture.write_bytes(b"a photo of a boiler")
    await called(folder, "attach", "leaky-boiler", str(picture))
    for told, expected in (((), "turn"), (("--link", "metered"), "unmetered_link"), (("--battery-percent", "5"), "battery")):
        _, out, _ = await called(folder, *told, "outbox")
        (photo,) = json.loads(out)["media"]
        assert photo["waits_for"] == expected


def test_the_help_has_every_command_in_a_section_and_the_words_that_are_possible():
    help_text = help_of()
    for section in Section:
        assert f"{section}:" in help_text
    assert set(cli.main.commands) <= set(re.findall(r"^  ([a-z-]+)", help_text, re.MULTILINE))
    for name, expected in (
        ("take-payment", "AMOUNT_CENTS [cash|card|cheque|transfer]"),
        ("sync", "--regardless"),
        ("sign", "INTERVENTION FILE"),
    ):
        assert expected in " ".join(help_of(name).split())
    assert CliRunner().invoke(cli.main, ["--version"]).output.startswith("zb-device, version ")


def help_of(*names: str) -> str:
    return CliRunner().invoke(cli.main, ["--folder", "x", *names, "--help"]).output


def test_every_state_reason_and_refusal_has_words_in_both_languages():
    faults = {fault.code for fault in every(DeviceFault)} - {DeviceFault.code}
    assert (set(STATES), set(WAITS), set(FAULTS)) == (set(Standing), set(WaitsFor), faults)
    for words in (STATES, WAITS, STATUSES, FAULTS, ANSWERS):
        assert all(said["en"] and said["fr"] for said in words.values())


def every(kind: type[DeviceFault]) -> set[type[DeviceFault]]:
    return {kind} | {one for below in kind.__subclasses__() for one in every(below)}


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
    code, out, err = await as_a_process(folder, "serve", "--offline", stdin=b"\n".join(lines) + b"\n")
    assert code == 0, err
    answers = [json.loads(line) for line in out.splitlines()]
    assert [answer["ok"] for answer in answers] == [True, False, False, False, False, False, True]
    assert (answers[0]["id"], answers[0]["result"]["seq"]) == (7, 1)
    assert {answer["code"] for answer in answers[1:6]} == {"device.command_invalid"}
    assert answers[6]["result"][0]["status"] == "in_progress"


async def test_a_command_that_waits_for_the_network_holds_no_recording_up(folder):
    lines = [
        b'{"command": "wait", "until": "settled", "timeout_s": 0.5, "id": 1}',
        b'{"command": "start", "intervention": "leaky-boiler", "id": 2}',
        b'{"command": "wait", "until": "settled", "timeout_s": 0.5, "id": 3}',
        b'{"command": "comment", "intervention": "leaky-boiler", "text": "no signal", "id": 4}',
    ]
    code, out, err = await as_a_process(folder, "serve", "--offline", stdin=b"\n".join(lines) + b"\n")
    assert code == 0, err
    answers = [json.loads(line) for line in out.splitlines()]
    assert {answer["id"] for answer in answers} == {1, 2, 3, 4}
    assert [answer["id"] for answer in answers].index(4) < [answer["id"] for answer in answers].index(3)
    assert [answer["result"]["seq"] for answer in answers if "seq" in answer["result"]] == [1, 2]
