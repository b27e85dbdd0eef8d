"""`zb-device`: everything that the SDK does, from a command line.

One-shot commands open the device, do one thing and close it; `serve` stays. Faults are one sentence on standard error and exit
code 1. The PIN comes from ZB_DEVICE_PIN or a prompt, never from an argument, which other processes could read.
"""

import asyncio
import json
import os
import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from zb_contracts.problems import Problem
from zb_device import commands
from zb_device.background import RETRY_S_MAX
from zb_device.clock import Clock, machine_clock, story_clock
from zb_device.device import Device
from zb_device.enrolment import Invitation, Places
from zb_device.faults import DeviceFault
from zb_device.serve import serve

PIN_VARIABLE: Final = "ZB_DEVICE_PIN"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """What every command is told."""

    folder: Path
    clock: Clock
    json: bool


@click.group()
@click.option("--folder", type=click.Path(path_type=Path), envvar="ZB_DEVICE_FOLDER", required=True, help="the device's folder")
@click.option("--clock-file", type=click.Path(path_type=Path), envvar="ZB_DEVICE_CLOCK_FILE", help="a told story's clock offset")
@click.option("--wall-error-ms", type=int, default=0, help="how wrong the wall clock is")
@click.option("--json", "as_json", is_flag=True, help="answer in JSON")
@click.pass_context
def main(context: click.Context, folder: Path, clock_file: Path | None, wall_error_ms: int, as_json: bool) -> None:
    """Record field work that survives a dead zone."""
    clock = story_clock(clock_file, wall_error_ms=wall_error_ms) if clock_file else machine_clock(wall_error_ms=wall_error_ms)
    context.obj = Options(folder, clock, as_json)


@main.command()
@click.argument("code")
@click.option("--ingest-url", required=True, help="where field-ingest is reached, e.g. http://127.0.0.1:8102")
@click.option("--nats-url", required=True, help="the broker, e.g. nats://127.0.0.1:4222 or wss://...")
@click.option("--media-url", required=True, help="the evidence store")
@click.option("--model", help="the make of this device")
@click.option("--root-sha256", help="what the platform's root must be")
@click.pass_obj
def enrol(
    options: Options,
    code: str,
    ingest_url: str,
    nats_url: str,
    media_url: str,
    model: str | None,
    root_sha256: str | None,
) -> None:
    """Make this folder a device of the platform, with a one-time CODE."""
    places = Places(ingest_url.rstrip("/"), nats_url, media_url.rstrip("/"))
    invitation = Invitation(code, places, model, root_sha256)

    async def work() -> Json:
        device = await Device.enrol(options.folder, invitation, _pin(), clock=options.clock)
        try:
            return {"device": device.parts.pinned.device, "technician": device.technician}
        finally:
            await device.close()

    _show(options, _run(work()))


@main.command(name="serve")
@click.option("--json", "_json", is_flag=True, help="JSON lines on standard input and output (the only form)")
@click.option("--offline", is_flag=True, help="begin with the network off")
@click.option("--retry-s-max", type=float, default=RETRY_S_MAX, show_default=True, help="longest pause between two tries")
@click.pass_obj
def serve_command(options: Options, _json: bool, offline: bool, retry_s_max: float) -> None:
    """Answer one JSON command a line, and sync in the background."""

    async def work() -> None:
        device = Device.open(options.folder, clock=options.clock)
        try:
            pin = os.environ.pop(PIN_VARIABLE, None)
            if pin:
                await device.unlock(pin)
            if offline:
                await device.offline()
            device.start(retry_s_max=retry_s_max)
            await serve(device, sys.stdout)
        finally:
            await device.close()

    _run(work())


@main.command()
@click.argument("command", metavar="COMMAND")
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE]...")
@click.pass_obj
def do(options: Options, command: str, arguments: tuple[str, ...]) -> None:
    """Any command of `serve`, with arguments as NAME=VALUE (VALUE may be JSON)."""
    _one(options, command, dict(_pair(text) for text in arguments))


def _reading(name: str, help_text: str) -> None:
    @main.command(name=name, help=help_text)
    @click.pass_obj
    def reading(options: Options) -> None:
        _one(options, name, {})


for _name, _help in {
    "status": "Who this device is, what waits, and what was refused.",
    "list": "The interventions of the scope.",
    "sync": "Send what waits and fetch what is new, once.",
}.items():
    _reading(_name, _help)


@main.command()
@click.argument("intervention")
@click.pass_obj
def show(options: Options, intervention: str) -> None:
    """The merged local state of an INTERVENTION, with what is not covered by the server yet."""
    _one(options, "show", {"intervention": intervention})


@main.command()
@click.option("--all", "everything", is_flag=True, help="settled events too")
@click.pass_obj
def outbox(options: Options, everything: bool) -> None:
    """Events and files that wait, or that a person has to see."""
    _one(options, "outbox", {"all": everything})


_STEPS: Final = {
    "travel": ("intervention.travel_started.v1", "You set out."),
    "arrived": ("intervention.arrived.v1", "You are at the site."),
    "start": ("intervention.started.v1", "You begin to work."),
    "pause": ("intervention.paused.v1", "You stop for a while."),
    "resume": ("intervention.resumed.v1", "You go on."),
    "leave": ("intervention.left.v1", "You leave, neither done nor given up."),
}


def _step(name: str, type_name: str, help_text: str) -> None:
    @main.command(name=name, help=help_text)
    @click.argument("intervention")
    @click.pass_obj
    def step(options: Options, intervention: str) -> None:
        _record(options, intervention, type_name, {})


for _name, (_type, _help) in _STEPS.items():
    _step(_name, _type, _help)


@main.command()
@click.argument("intervention")
@click.option("--work", help="what was done")
@click.pass_obj
def done(options: Options, intervention: str, work: str | None) -> None:
    """The work is done."""
    _record(options, intervention, "intervention.done.v1", {"work_done": work} if work else {})


@main.command(name="not-done")
@click.argument("intervention")
@click.argument("reason_code")
@click.option("--reason", help="in words")
@click.pass_obj
def not_done(options: Options, intervention: str, reason_code: str, reason: str | None) -> None:
    """The work could not be done: REASON_CODE says why."""
    body = {"reason_code": reason_code, **({"reason": reason} if reason else {})}
    _record(options, intervention, "intervention.not_done.v1", body)


@main.command()
@click.argument("intervention")
@click.argument("checklist_code", metavar="CHECKLIST")
@click.argument("item")
@click.argument("answer")
@click.pass_obj
def checklist(options: Options, intervention: str, checklist_code: str, item: str, answer: str) -> None:
    """Answer one ITEM of a CHECKLIST: yes, no, or a text."""
    value: bool | str = {"yes": True, "no": False}.get(answer, answer)
    _record(
        options,
        intervention,
        "intervention.checklist_answered.v1",
        {"checklist": checklist_code, "item": item, "answer": value},
    )


@main.command()
@click.argument("intervention")
@click.argument("text")
@click.pass_obj
def comment(options: Options, intervention: str, text: str) -> None:
    """A remark."""
    _record(options, intervention, "intervention.comment_added.v1", {"text": text})


@main.command()
@click.argument("intervention")
@click.argument("path", type=click.Path(exists=True, dir_okay=False))
@click.option("--label")
@click.pass_obj
def photo(options: Options, intervention: str, path: str, label: str | None) -> None:
    """Attach a photo."""
    _one(options, "photo", {"intervention": intervention, "path": path, "label": label})


@main.command()
@click.argument("intervention")
@click.argument("path", type=click.Path(exists=True, dir_okay=False))
@click.option("--signer", required=True, help="name; it is sealed")
@click.option("--shown", required=True, help="the text that was shown")
@click.option("--role", default="customer", show_default=True)
@click.pass_obj
def signature(options: Options, intervention: str, path: str, signer: str, shown: str, role: str) -> None:
    """The customer's signature (strokes as a picture)."""
    _one(
        options,
        "signature",
        {"intervention": intervention, "path": path, "signer": signer, "shown": shown, "role": role},
    )


@main.command()
@click.argument("intervention")
@click.argument("part_code", metavar="PART")
@click.argument("quantity", default="1")
@click.pass_obj
def part(options: Options, intervention: str, part_code: str, quantity: str) -> None:
    """A PART was used, out of the van."""
    _one(options, "part", {"intervention": intervention, "part": part_code, "quantity": quantity})


@main.command()
@click.argument("intervention")
@click.argument("line")
@click.argument("reason")
@click.pass_obj
def void(options: Options, intervention: str, line: str, reason: str) -> None:
    """Withdraw a LINE, with the REASON."""
    _one(options, "void", {"intervention": intervention, "line": line, "reason": reason})


def _record(options: Options, intervention: str, type_name: str, body: Json) -> None:
    _one(options, "record", {"intervention": intervention, "type": type_name, "body": body})


# --- Running one command ---

_WITHOUT_READING: Final = frozenset({"record", "status", "outbox", "dealt", "sync", "check"})


def _one(options: Options, name: str, arguments: Json) -> None:
    async def work() -> Any:
        device = Device.open(options.folder, clock=options.clock)
        try:
            if os.environ.get(PIN_VARIABLE) or name not in _WITHOUT_READING:
                await device.unlock(_pin())
            return await commands.run(device, name, arguments)
        finally:
            await device.close()

    _show(options, _run(work()))


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(work)
    except (DeviceFault, Problem) as fault:
        _fail(fault)


def _fail(fault: DeviceFault | Problem) -> NoReturn:
    click.echo(f"{fault} ({fault.code})", err=True)
    sys.exit(1)


def _pin() -> str:
    return os.environ.get(PIN_VARIABLE) or str(click.prompt("PIN", hide_input=True, err=True))


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"not NAME=VALUE: {text}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _show(options: Options, result: Any) -> None:
    click.echo(json.dumps(result, ensure_ascii=False) if options.json else json.dumps(result, ensure_ascii=False, indent=2))
