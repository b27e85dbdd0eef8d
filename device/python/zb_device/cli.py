"""`zb-device`: everything that the SDK does, from a command line. It is made of the register of commands.

One-shot commands open the device, do one thing and close it; `serve` stays. A refusal is one line on standard error; the exit
code says whether the same command may succeed later. The PIN comes from ZB_DEVICE_PIN or a prompt, never from an argument, which
other processes could read. What people see of an answer is `screens`' matter.
"""

import asyncio
import json
import os
import sys
import typing
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NoReturn

import click
from pydantic.fields import FieldInfo

from zb_contracts.merge.wording import Language
from zb_contracts.printable import printable
from zb_contracts.problems import Problem
from zb_device.background import RETRY_S_MAX
from zb_device.clock import Clock, machine_clock, story_clock
from zb_device.command_register import COMMANDS, Command, Section, told
from zb_device.commands import run
from zb_device.device import Device
from zb_device.enrolment import Invitation, Places, invited
from zb_device.faults import DeviceFault, Locked, NoTechnician, PinBlocked, ReadingDestroyed
from zb_device.policies import Conditions, Link
from zb_device.screens import shown
from zb_device.serve import serve
from zb_device.wording import FAULTS

PIN_VARIABLE: Final = "ZB_DEVICE_PIN"
SECRETS: Final = {"pin": ("PIN", PIN_VARIABLE), "new_pin": ("new PIN", "ZB_DEVICE_NEW_PIN")}
"""Arguments that are never read from the command line: what to ask for, and which variable may hold it."""
OPTIONAL_SECRETS: Final = {"person": "ZB_DEVICE_PERSON"}
"""The same, of what only some devices need: nobody is asked."""
SERVED_ONLY: Final = frozenset({"lock", "unlock", "online", "offline", "wait", "tell"})
"""What changes or awaits a running process has no meaning in one that ends at once."""
REFUSED: Final = 1
LATER: Final = 75
"""As sysexits.h has it: the same command may succeed later, and nothing is lost meanwhile."""
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """What every command is told."""

    folder: Path
    clock: Clock
    conditions: Conditions
    json: bool
    language: Language


class Sections(click.Group):
    """A group whose help has its commands in the sections of the register."""

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        for section in Section:
            names = [name for name in self.list_commands(context) if _section(name) is section]
            rows = [(name, self.commands[name].get_short_help_str(limit=100)) for name in names]
            with formatter.section(section):
                formatter.write_dl(rows)


def _section(name: str) -> Section:
    command = COMMANDS.get(name.replace("-", "_"))
    return command.section if command else Section.DEVICE


def _of_this_place() -> Language:
    return "fr" if (os.environ.get("LC_ALL") or os.environ.get("LANG") or "").startswith("fr") else "en"


@click.group(cls=Sections, epilog="Exit codes: 0 done, 1 refused, 2 wrong usage, 75 may succeed later.")
@click.option("--folder", type=click.Path(path_type=Path), envvar="ZB_DEVICE_FOLDER", required=True, help="the device's folder")
@click.option("--json", "as_json", is_flag=True, help="answer in JSON, refusals too")
@click.option("--language", type=click.Choice(["en", "fr"]), envvar="ZB_DEVICE_LANGUAGE", help="of pages (default: LANG)")
@click.option(
    "--link",
    type=click.Choice([one.value for one in Link]),
    default="unmetered",
    help="what photos may go by (default: unmetered)",
)
@click.option("--battery-percent", type=click.IntRange(0, 100), help="charge, where photos are to wait for it")
@click.option("--clock-file", type=click.Path(path_type=Path), envvar="ZB_DEVICE_CLOCK_FILE", hidden=True, help="a story's clock")
@click.option("--wall-error-ms", type=int, default=0, hidden=True, help="how wrong the wall clock is")
@click.version_option(package_name="zb-device", prog_name="zb-device")
@click.pass_context
def main(
    context: click.Context,
    /,
    folder: Path,
    as_json: bool,
    language: Language | None,
    link: str,
    battery_percent: int | None,
    clock_file: Path | None,
    wall_error_ms: int,
) -> None:
    """Record field work that survives a dead zone."""
    clock = story_clock(clock_file, wall_error_ms=wall_error_ms) if clock_file else machine_clock(wall_error_ms=wall_error_ms)
    conditions = Conditions(link=Link(link), battery_percent=battery_percent)
    context.obj = Options(folder, clock, conditions, as_json, language or _of_this_place())


@main.command()
@click.argument("code", required=False)
@click.option("--invitation", help="the whole line that an administrator handed over, or that a QR code held; then nothing else")
@click.option("--ingest-url", help="where field-ingest is reached, e.g. http://127.0.0.1:8102")
@click.option("--nats-url", help="the broker, e.g. nats://127.0.0.1:4222 or wss://...")
@click.option("--media-url", help="the evidence store")
@click.option("--model", help="the make of this device")
@click.option("--root-sha256", help="what the platform's root must be")
@click.pass_obj
def enrol(
    options: Options,
    /,
    invitation: str | None,
    **typed: str | None,
) -> None:
    """Make this folder a device of the platform, with an invitation, or a one-time CODE and the three addresses."""
    invited = _invited(invitation, typed)

    async def work() -> Json:
        async with await Device.enrol(options.folder, invited, _secret("pin"), clock=options.clock) as device:
            return {"device": device.parts.pinned.device, "technician": device.technician}

    _show(options, "enrol", _run(options, work()))


def _invited(text: str | None, typed: dict[str, str | None]) -> Invitation:
    """What was handed over in one line, or typed in parts. UsageError where it is neither whole nor one of the two."""
    if text is not None:
        if any(value for name, value in typed.items() if name != "model"):
            raise click.UsageError("an invitation holds the code, the addresses and the root: say nothing of them beside it")
        try:
            return invited(text, model=typed["model"])
        except Problem as fault:
            raise click.UsageError(str(fault)) from fault
    code, ingest, nats, media = (typed[name] for name in ("code", "ingest_url", "nats_url", "media_url"))
    if not (code and ingest and nats and media):
        raise click.UsageError("say --invitation TEXT, or CODE with --ingest-url, --nats-url and --media-url")
    return Invitation(code, Places(ingest.rstrip("/"), nats, media.rstrip("/")), typed["model"], typed["root_sha256"])


@main.command(name="serve")
@click.option("--json", "_json", is_flag=True, help="JSON lines on standard input and output (the only form)")
@click.option("--offline", is_flag=True, help="begin with the network off")
@click.option("--retry-s-max", type=float, default=RETRY_S_MAX, show_default=True, help="longest pause between two tries")
@click.pass_obj
def serve_command(options: Options, _json: bool, offline: bool, retry_s_max: float) -> None:
    """Answer one JSON command a line, and sync in the background."""

    async def work() -> None:
        async with _opened(options, os.environ.pop(PIN_VARIABLE, None)) as device:
            if offline:
                await device.offline()
            device.start(retry_s_max=retry_s_max)
            await serve(device, sys.stdout)

    _run(options, work())


# --- The register's commands ---


def _made(command: Command) -> click.Command:
    fields = command.arguments.model_fields
    parameters: list[click.Parameter] = [
        click.Argument([name], required=fields[name].is_required(), metavar=_kind(fields[name].annotation))
        for name in command.positional
    ]
    parameters += [
        _option(name, field) for name, field in fields.items() if name not in {*command.positional, *SECRETS, *OPTIONAL_SECRETS}
    ]

    def called(**given: Any) -> None:
        said = {name: _value(value, fields[name]) for name, value in given.items() if value is not None}
        said |= {name: _secret(name) for name in fields if name in SECRETS}
        said |= {name: os.environ[held] for name, held in OPTIONAL_SECRETS.items() if name in fields and os.environ.get(held)}
        _one(click.get_current_context().obj, command.name, said)

    return click.Command(_dashed(command.name), callback=called, params=parameters, help=command.about)


def _option(name: str, field: FieldInfo) -> click.Option:
    if field.annotation is bool:
        if field.is_required():
            return click.Option([f"--{_dashed(name)}/--no-{_dashed(name)}"], required=True)
        return click.Option([f"--{_dashed(name)}"], is_flag=True, default=None)
    default = None if field.is_required() or field.default in (None, "") else f"default: {field.default}"
    return click.Option([f"--{_dashed(name)}"], required=field.is_required(), metavar=_kind(field.annotation), help=default)


def _kind(annotation: Any) -> str | None:
    """What stands for the value in the help: the words that are possible, or what it is."""
    kinds = [kind for kind in typing.get_args(annotation) or (annotation,) if kind is not type(None)]
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        kinds = list(annotation)
    if len(kinds) == 1 and typing.get_args(kinds[0]):
        return _kind(kinds[0])
    if all(isinstance(kind, str) for kind in kinds):
        return f"[{'|'.join(kinds)}]"
    if kinds in ([int], [float]):
        return None
    return "FILE" if Path in kinds else "JSON" if _may_be_json(annotation) else None


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _value(value: Any, field: FieldInfo) -> Any:
    """Text as it is where text is meant, JSON for everything else; what is wrong the command says."""
    if not isinstance(value, str) or not _may_be_json(field.annotation):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _may_be_json(annotation: Any) -> bool:
    kinds = typing.get_args(annotation) or (annotation,)
    return not all(kind in (str, Path, type(None)) or isinstance(kind, str) for kind in kinds)


def _one(options: Options, name: str, arguments: Json) -> None:
    async def work() -> Any:
        pin, reads = None if "pin" in arguments else os.environ.get(PIN_VARIABLE), name in COMMANDS and COMMANDS[name].reads
        if pin is None and reads:
            pin = _secret("pin")
        async with _opened(options, pin, reads=reads) as device:
            return await run(device, name, arguments)

    _show(options, name, _run(options, work()))


@asynccontextmanager
async def _opened(options: Options, pin: str | None, *, reads: bool = False) -> AsyncIterator[Device]:
    """The device, unlocked where there is a PIN. What reads nothing goes on locked where reading has ended or the PIN has to
    wait, and says so: recording and sending ask for neither."""
    async with Device.open(options.folder, clock=options.clock) as device:
        device.tell(options.conditions)
        try:
            if pin is not None:
                await device.unlock(pin)
        except (Locked, PinBlocked, ReadingDestroyed, NoTechnician) as fault:
            if reads:
                raise
            _complain(options, fault)
        yield device


def _run(options: Options, work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(work)
    except (DeviceFault, Problem) as fault:
        _fail(options, fault)


def _fail(options: Options, fault: DeviceFault | Problem) -> NoReturn:
    _complain(options, fault)
    sys.exit(LATER if fault.retryable else REFUSED)


def _complain(options: Options, fault: DeviceFault | Problem) -> None:
    said = told(fault)
    code = said.get("problem", fault.code)
    general = FAULTS.get(fault.code, {}).get(options.language, "") if options.language != "en" else ""
    text = json.dumps(said, ensure_ascii=False) if options.json else f"{general} {fault} ({code})".strip()
    click.echo(printable(text), err=True)


def _secret(name: str) -> str:
    asked, variable = SECRETS[name]
    return os.environ.get(variable) or str(click.prompt(asked, hide_input=True, err=True))


def _show(options: Options, name: str, result: Any) -> None:
    click.echo(json.dumps(result, ensure_ascii=False) if options.json else shown(name, result, options.language))


for _command in COMMANDS.values():
    if _command.name not in SERVED_ONLY:
        main.add_command(_made(_command))
