"""What was promised and what was seen: the play's verdict, and its last line for machines."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Promise:
    """One sentence that has to hold, and what was seen instead of it or with it."""

    text: str
    held: bool
    seen: str


@dataclass
class Promises:
    """Collected while the day is played. `figures` are those of the last line."""

    kept: list[Promise] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def hold(self, text: str, held: bool, seen: object = "") -> bool:
        """Note a promise; a broken one does not stop the play, but its exit code will tell."""
        self.kept.append(Promise(text, bool(held), str(seen)))
        return bool(held)

    @property
    def all_held(self) -> bool:
        return bool(self.kept) and all(promise.held for promise in self.kept)

    def write(self, file: Path) -> None:
        """Everything that was promised and seen, for tests and for those who come later."""
        kept = [{"text": promise.text, "held": promise.held, "seen": promise.seen} for promise in self.kept]
        file.write_text(json.dumps({"ok": self.all_held, "figures": self.figures, "promises": kept}, indent=1))

    def last_line(self, seconds: float) -> str:
        """One JSON object: ok, admitted, refused, rejected, lost, stored_twice, photos, batches, hashes, seconds."""
        return json.dumps({"ok": self.all_held, **self.figures, "seconds": round(seconds, 1)})
