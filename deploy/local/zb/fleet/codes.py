"""One-time codes: invite a device with a QR code, or many from a file; list what is open, take a code back.

The QR code holds an invitation (`zb_contracts.invitation`): addresses, code, the root's fingerprint. The code is printed this
once and stored nowhere; field-ingest has its hash.
"""

import csv
import hashlib
import io
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO, Final

import click
import segno

from zb.fleet.desk import Desk, F, at_desk, say, show_json, show_table
from zb.office import Refused
from zb_contracts.invitation import Invitation

COLUMNS: Final = ("row", "agency", "technician", "id", "expires_at", "invitation")
PNG_PIXELS_A_MODULE: Final = 8
VALID_HOURS_MAX: Final = 14 * 24


def _asks_for_a_code(command: F) -> F:
    """The options of every command that makes a code."""
    for option in (
        click.option("--media-url", help="where devices reach the evidence store"),
        click.option("--nats-url", help="where devices reach the broker"),
        click.option("--ingest-url", help="where devices reach field-ingest (default: this machine, as for the next two)"),
        click.option("--png", type=click.Path(path_type=Path, dir_okay=False), help="write the QR code into this new file"),
        click.option(
            "--valid-hours", type=click.IntRange(1, VALID_HOURS_MAX), default=24, show_default=True, help="until it expires"
        ),
        click.option("--technician", help="whose device it will be; without one it belongs to the agency's pool"),
    ):
        command = option(command)
    return at_desk(command)


@click.command("invite", short_help="Make a one-time code, as text, QR code and PNG.")
@click.option("--agency", default="main", show_default=True, help="to which the device will belong")
@click.option("--file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="a CSV file: a code for each row")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="with --file: write the invitations into this new file"
)
@click.option("--good-rows", is_flag=True, help="with --file: take the good rows although others are wrong")
@_asks_for_a_code
@click.pass_obj
def invite(
    folder: Path, /, name: str, as_json: bool, agency: str, file: Path | None, out: Path | None, good_rows: bool, **options: Any
) -> None:
    """Make a one-time code for a new device; whoever has it can enrol one.

    On the device: `zb-device enrol --invitation TEXT`, or scan the QR code.

    With --file FILE --out NEW many at once: FILE has the columns agency, technician
    and valid_hours, of which the first must not be empty; NEW gets an invitation
    for each row. A wrong row is named, and then no code is made.
    """
    if file is not None:
        if out is None:
            raise click.UsageError("say with --out into which new file the invitations go")
        return _issue_all(Desk.of(folder, name), file, out, good_rows, options, as_json)
    _issue(Desk.of(folder, name), {"agency": agency, "technician": options["technician"]}, options, as_json)


@click.command("replace", short_help="Make a code with which other hardware goes on as this device.")
@click.argument("device")
@_asks_for_a_code
@click.pass_obj
def replace(folder: Path, /, name: str, as_json: bool, device: str, **options: Any) -> None:
    """Make a one-time code with which new hardware, or emptied one, becomes the next incarnation of DEVICE.

    Until it is used nothing changes. From then on what the hardware before it signs is held. Agency and technician stay, unless
    another technician is named. An order to wipe stays with the old hardware. A retired device is refused.
    """
    desk = Desk.of(folder, name)
    before = desk.get(f"devices/{device}")
    technician = options["technician"] or before["technician"]
    _issue(desk, {"agency": before["agency"], "technician": technician, "device": device}, options, as_json)


@click.command("codes", short_help="List one-time codes: open, used, expired, revoked.")
@click.option("--state", type=click.Choice(["open", "used", "expired", "revoked"]), help="only these")
@click.option("--agency", help="only of this agency and those below it")
@click.option("--after", help="`next` of the page before")
@at_desk
@click.pass_obj
def codes(folder: Path, name: str, as_json: bool, state: str | None, agency: str | None, after: str | None) -> None:
    """List one-time codes, the newest first, a page at a time. The codes themselves are known to nobody."""
    answer = Desk.of(folder, name).get("enrolment-codes", state=state, agency=agency, after=after)
    if as_json:
        return show_json(answer)
    columns = ("id", "state", "agency", "technician", "replaces", "issued by", "issued at", "expires at", "enrolled")
    keys = ("id", "state", "agency", "technician", "device", "issued_by", "issued_at", "expires_at", "used_by")
    show_table(columns, [[code[key] for key in keys] for code in answer["codes"]])
    if answer["next"]:
        say(f"more: --after {answer['next']}")


@click.command("uninvite", short_help="Take a one-time code back before it is used.")
@click.argument("code", metavar="ID")
@at_desk
@click.pass_obj
def uninvite(folder: Path, name: str, as_json: bool, code: str) -> None:
    """Take back the code with this ID (see `zb fleet codes`). A used code is refused: suspend the device instead."""
    answer = Desk.of(folder, name).delete(f"enrolment-codes/{code}")
    if as_json:
        return show_json(answer)
    say(f"the code {answer['id']} is {answer['state']}")


def _issue(desk: Desk, wanted: dict[str, Any], options: dict[str, Any], as_json: bool) -> None:
    """Ask for the code and show it in every form. The picture's file is made first: a code is shown only once."""
    picture = _new_file(options["png"]) if options["png"] else None
    issued = desk.post("enrolment-codes", wanted | {"valid_s": options["valid_hours"] * 3600})
    text = invitation(desk, issued["code"], options).to_text()
    qr = segno.make(text, error="m", micro=False)
    if picture is not None:
        with picture:
            qr.save(picture, kind="png", scale=PNG_PIXELS_A_MODULE)
    if as_json:
        return show_json({**issued, "invitation": text})
    qr.terminal(out=sys.stdout, compact=True)
    say(f"code {issued['code']} (id {issued['id']}), until {issued['expires_at']}\n{text}")


def _issue_all(desk: Desk, file: Path, out: Path, good_rows: bool, options: dict[str, Any], as_json: bool) -> None:
    """Ask for a code for each row of the file. The new file is made first: codes are shown only once."""
    data, written = file.read_bytes(), _new_file(out)
    try:
        answer = desk.post_csv("invitations", data, mode="good-rows" if good_rows else "all-or-nothing")
    except BaseException as fault:
        written.close()
        out.unlink()
        if isinstance(fault, Refused):
            _say_faults(fault.problem.get("errors", []))
        raise
    rows = [one | {"invitation": invitation(desk, one["code"], options).to_text()} for one in answer["codes"]]
    with io.TextIOWrapper(written, "utf-8", newline="") as text:
        table = csv.DictWriter(text, COLUMNS, extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
    if as_json:
        return show_json({"invited": len(rows), "errors": answer["errors"], "file": str(out)})
    _say_faults(answer["errors"])
    say(f"{len(rows)} invitations are in {out}, {len(answer['errors'])} rows have none")


def _say_faults(errors: list[dict[str, Any]]) -> None:
    for error in errors:
        say(f"row {error.get('row')}, {error.get('column') or 'all of it'}: {error.get('reason')}")


def _new_file(path: Path) -> BinaryIO:
    """A file of its owner's alone, because it holds codes. UsageError for one that exists, or cannot be made."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as fault:
        raise click.UsageError(f"{path} cannot be made: {fault.strerror}") from fault


def invitation(desk: Desk, code: str, wanted: dict[str, Any]) -> Invitation:
    """What the device needs beside the code: addresses as told, else this machine's, and whom to trust."""
    ports, nats = desk.run["ports"], desk.run["nats"]
    root = bytes.fromhex((desk.home / "keys" / "root.pub").read_text().strip())
    return Invitation(
        code=code,
        ingest=wanted.get("ingest_url") or f"http://127.0.0.1:{ports['field-ingest']}",
        nats=wanted.get("nats_url") or f"nats://127.0.0.1:{nats['client']}",
        media=wanted.get("media_url") or f"http://127.0.0.1:{ports['media']}",
        root=hashlib.sha256(root).hexdigest(),
    )
