"""field-ingest's own commands on a data folder whose platform does not run: PostgreSQL alone is up.

It gives the command the settings that it would have in the platform, but for addresses: a command that needs the broker or the
issuer does not belong here. It decides nothing.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from zb import keyring
from zb.keys import private_folder
from zb.postgres import Postgres
from zb.stack import INGEST, PARTS, StackError

NOBODY: Final = "127.0.0.1:1"
"""An address where nobody listens."""


def run(home: Path, postgres: Postgres, *arguments: str) -> str:
    """What the command printed. StackError with its last line where it failed."""
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", PARTS[INGEST].module, *arguments],
        env={**os.environ, **settings(home, postgres)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise StackError(f"{' '.join(arguments)} failed: {said[-1].removeprefix('Error: ') if said else 'it said nothing'}")
    return done.stdout


def settings(home: Path, postgres: Postgres) -> dict[str, str]:
    """The environment of field-ingest on this folder. Its keys are handed out again."""
    keys = keyring.Keyring(home / "keys", bytes.fromhex((home / "keys" / "root.pub").read_text()))
    handed = home / "handed-out"
    shards = home / "SHARDS"
    values = {
        "database_url": postgres.dsn(PARTS[INGEST].database),
        "nats_url": f"nats://{NOBODY}",
        "nats_creds": str(handed / "nats" / f"{INGEST}.creds"),
        "nats_sync_creds": str(handed / "nats" / f"{INGEST}-sync.creds"),
        "http_port": "1",
        "oidc_issuer": f"http://{NOBODY}",
        "keys_dir": str(keyring.hand_out(keys, INGEST, handed / INGEST)),
        "data_dir": str(private_folder(home / INGEST)),
        "shards": shards.read_text().strip() if shards.exists() else "1",
        "log_format": "console",
    }
    return {PARTS[INGEST].prefix + key.upper(): value for key, value in values.items()}
