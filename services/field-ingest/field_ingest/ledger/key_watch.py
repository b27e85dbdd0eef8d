"""The ledger's keys of a process that runs: a rotation is taken up from the keys folder within seconds, without a restart.

The folder is watched, no signal waited for: that reaches every process of a role, in whatever container, and whoever mounts a new
file has to find nobody. Only ledger keys change so; the rest of the folder is read at start.
"""

import asyncio
from pathlib import Path
from typing import Final

import structlog

from field_ingest.ledger.keyring import KeysUnusable, read_keys
from field_ingest.ledger.ledger_keys import KeyForgotten, LedgerKeys
from zb_chassis import lifecycle

EVERY_S: Final = 5.0
"""Far less than a new key waits before it signs."""

log: Final = structlog.get_logger(__name__)


class KeyWatch:
    """Keeps `keys` as the folder's `ledger.json` has them. What it cannot read leaves them as they are."""

    def __init__(self, folder: Path, keys: LedgerKeys) -> None:
        self._folder = folder
        self._keys = keys
        self._seen = self._file()

    async def run(self, stop: asyncio.Event) -> None:
        """Look every EVERY_S until `stop` is set."""
        while not stop.is_set():
            await lifecycle.unless(stop, asyncio.sleep(EVERY_S))
            self.look()

    def look(self) -> bool:
        """Take up what changed in the folder since the last look; whether anything was."""
        now = self._file()
        if now is None or now == self._seen:
            return False
        self._seen = now
        try:
            self._keys.take(read_keys(self._folder).ledger)
        except (KeysUnusable, KeyForgotten) as fault:
            log.error("the ledger's keys changed and cannot be used; those of before go on", error=str(fault))
            return False
        log.info("the ledger's keys changed", signs=self._keys.signing.kid, certificates=len(self._keys.certificates))
        return True

    def _file(self) -> bytes | None:
        """The file as it is; None while it is being replaced."""
        try:
            return (self._folder / "ledger.json").read_bytes()
        except FileNotFoundError:
            return None
