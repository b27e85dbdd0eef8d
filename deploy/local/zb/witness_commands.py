"""`zb witness`: make a witness, tell it which logs to watch, let it serve. What it may sign is `witness`'s matter."""

import json
from pathlib import Path

import click

from zb.witness import Witness, WitnessError
from zb_contracts.faults import KeyMalformed
from zb_contracts.notes import NoteVerifier

FOLDER = click.argument("folder", type=click.Path(path_type=Path, file_okay=False))


@click.group("witness")
def witness() -> None:
    """Cosign checkpoints of a ledger that somebody else runs."""


def _open(folder: Path) -> Witness:
    try:
        return Witness(folder)
    except WitnessError as fault:
        raise click.ClickException(str(fault)) from fault


@witness.command()
@FOLDER
@click.option("--name", required=True, help="Under which it signs, e.g. works-council.example/witness.")
def init(folder: Path, name: str) -> None:
    """Make a witness in FOLDER and show its verifier key, which others pin."""
    try:
        click.echo(Witness.make(folder, name).verifier.to_text())
    except WitnessError as fault:
        raise click.ClickException(str(fault)) from fault


@witness.command()
@FOLDER
@click.argument("key")
def watch(folder: Path, key: str) -> None:
    """Watch the log of this verifier KEY (zb audit log shows it)."""
    try:
        _open(folder).watch(NoteVerifier.from_text(key))
    except KeyMalformed as fault:
        raise click.BadParameter(str(fault), param_hint="KEY") from fault


@witness.command()
@FOLDER
def show(folder: Path) -> None:
    """The witness's key and, of each log, the last size that it cosigned: one JSON object."""
    one = _open(folder)
    logs = [{"origin": log.origin, "size": log.size, "keys": log.keys} for log in one.logs()]
    click.echo(json.dumps({"key": one.verifier.to_text(), "logs": logs}, indent=2))


@witness.command("serve")
@FOLDER
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8479, show_default=True)
def serve_command(folder: Path, host: str, port: int) -> None:
    """Answer logs over HTTP until it is ended."""
    import uvicorn  # imported late, with what it serves: no other command of zb needs a server

    from zb.witness_http import serve

    uvicorn.run(serve(_open(folder)), host=host, port=port, log_level="warning")
