"""`zb keys`: what somebody does with the offline root. What a rotation is, `keyring` says."""

import json
from pathlib import Path
from typing import Final

import click

from zb.keyring import Keyring, hand_out, rotate_ledger
from zb.stack import INGEST, StackError

DAY_MS: Final = 86_400_000
OVERLAP_DAYS: Final = 30
OVERLAP_DAYS_MAX: Final = 366


@click.group("keys")
def keys() -> None:
    """Change the platform's keys."""


@keys.command("rotate-ledger")
@click.option(
    "--root", type=click.Path(path_type=Path, dir_okay=False), help="file with the root's seed, where it is kept elsewhere"
)
@click.option(
    "--overlap-days",
    type=click.IntRange(0, OVERLAP_DAYS_MAX),
    default=OVERLAP_DAYS,
    show_default=True,
    help="for which the key of today stays in force beside the new one",
)
@click.pass_obj
def rotate_ledger_command(folder: Path, root: Path | None, overlap_days: int) -> None:
    """Give the ledger a new key, certified by the root; the key of today gets an end.

    A field-ingest that runs takes it up within seconds, and signs with it ten minutes after it was made. Devices learn it with
    their next sync, whenever that is; auditors and witnesses pin its verifier key (zb audit log) before the overlap ends.
    """
    home = folder / "up"
    if not (home / "keys" / "ledger.json").exists():
        raise StackError(f"there are no keys in {home}: zb up makes them at its first start")
    certificates = rotate_ledger(home / "keys", root or home / "keys" / "root.seed", overlap_ms=overlap_days * DAY_MS)
    root_public = bytes.fromhex((home / "keys" / "root.pub").read_text().strip())
    hand_out(Keyring(home / "keys", root_public), INGEST, home / "handed-out" / INGEST)
    click.echo(json.dumps({"ledger_keys": certificates}))
