"""After the ledger lost rows: accept it, read again what the broker still holds, and let the offices go on from there.

The ledger's own part is field-ingest's (`python -m field_ingest heal`). Here are the order of the steps and the waiting: whoever
signs for the ledger must not sign a number again that admission has just read from OFFICE.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from zb import offline
from zb.manifest import BackupError
from zb.postgres import Postgres
from zb.stack import INGEST, PARTS, SAY, Stack, StackError, environment_file, restored_file
from zb_contracts.subjects import DEPOTS, FIELD, OFFICE

Say = Callable[[str], None]
READ_TIMEOUT_S: Final = 6 * 3600.0
POLL_S: Final = 0.25
PROGRESS_S: Final = 10.0
AUTHORS: Final[Mapping[str, str]] = {"office-": "scheduling", "billing-bridge": "billing-bridge"}
"""Whose event numbers each server-side author's are, by the beginning of its name."""


def nothing_lost(home: Path) -> None:
    """The restored platform was stopped when its backup was made: it may start. BackupError where nothing was restored."""
    if not restored_file(home).exists():
        raise BackupError(f"{home} was not restored from a backup: there is nothing to say")
    restored_file(home).unlink()


def accept_loss(home: Path, reason: str, say: Say = SAY, *, clock_file: Path | None = None) -> list[str]:
    """Go on from the ledger's rows as they are; what became of each log and each author. BackupError, StackError, PostgresError.

    The platform does not run, before and after. It may be called again after a crash.
    """
    if not (home / "postgres").is_dir():
        raise BackupError(f"there is no platform in {home}: restore a backup first")
    restored = restored_file(home).exists()
    with Postgres(home / "postgres") as postgres:
        options = ("--restored",) if restored else ()
        said = offline.run(home, postgres, "heal", "--accept-loss", "--reason", reason, *options).splitlines()[:-1]
    for line in said:
        say(line)
    restored_file(home).unlink(missing_ok=True)
    with Stack(home, clock_file=clock_file).running() as stack:
        _wait_until_read(stack, say)
        adopted = json.loads(_command(stack, "media", "adopt"))["adopted"]
        return [
            *said,
            *(_caught_up(stack, head) for head in _heads(stack)),
            f"media: {len(adopted)} files on the disk that the database did not know",
        ]


def _wait_until_read(stack: Stack, say: Say) -> None:
    """Return when admission has decided all that FIELD and OFFICE hold."""
    deadline = time.monotonic() + READ_TIMEOUT_S
    told = 0.0
    while waiting := _waiting(stack):
        now = time.monotonic()
        if now > deadline:
            raise StackError(f"{waiting} messages of FIELD and OFFICE are still undecided after {READ_TIMEOUT_S:.0f} s")
        if now - told > PROGRESS_S:
            say(f"{waiting} messages of FIELD and OFFICE are to be read")
            told = now
        time.sleep(POLL_S)
    say("FIELD and OFFICE are read")


def _waiting(stack: Stack) -> int:
    """Messages that admission has not settled, by nats-server's own account."""
    query = {"consumers": "true", "streams": "true"}
    report = httpx.get(f"{stack.nats.monitor_url}/jsz", params=query).raise_for_status().json()
    streams = [stream for account in report.get("account_details", []) for stream in account.get("stream_detail", [])]
    consumers: list[dict[str, Any]] = [
        consumer
        for stream in streams
        if stream["name"] in (FIELD.name, OFFICE.name, DEPOTS.name)
        for consumer in stream.get("consumer_detail") or []
    ]
    return sum(int(consumer["num_pending"]) + int(consumer["num_ack_pending"]) for consumer in consumers)


def _heads(stack: Stack) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _command(stack, INGEST, "heads").splitlines()]


def _caught_up(stack: Stack, head: Mapping[str, Any]) -> str:
    """One author's service, told how far the ledger has its events."""
    service = next((name for start, name in AUTHORS.items() if head["author"].startswith(start)), None)
    if service is None or not head["seq"]:
        return f"{head['author']}: {head['seq']} events in the ledger"
    return _command(stack, service, "catch-up", head["author"], str(head["seq"]), head["hash"]).strip()


def _command(stack: Stack, service: str, *arguments: str) -> str:
    environment = json.loads(environment_file(stack.folder, service).read_text())
    done = subprocess.run(  # noqa: S603 - our own modules
        [sys.executable, "-m", PARTS[service].module, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise StackError(f"{service} {arguments[0]} failed: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
    return done.stdout
