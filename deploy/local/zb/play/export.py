"""Scene five: the closed intervention becomes one numbered batch for the ERP; a second export changes nothing."""

from pathlib import Path
from typing import Any, Final

from zb.office import Refused
from zb.play.stage import Stage, in_thread, until

PROFILE: Final = "erp"
READY: Final = "ready"
ENCODINGS: Final = {".txt": "iso8859-15", ".csv": "utf-8"}
"""As the profile writes its two layouts: the old ERP reads Latin-9."""


async def export(stage: Stage) -> None:
    """11:00 the bridge exports; 11:05 it is asked again."""
    stage.story.set(11, 0)
    stage.teller.chapter("11:00  The old ERP gets its file")
    closed = stage.chosen["cancelled"]

    def waiting() -> Any:
        rows = stage.person("integrator").get(stage.url("billing-bridge", "waiting"))
        return any(row["intervention"] == closed and row["reason"] == READY for row in rows)

    await until("the closed intervention waits for its batch", waiting)
    url = stage.url("billing-bridge", f"profiles/{PROFILE}/batches")
    batch = await in_thread(stage.person("integrator").post, url, {})
    folder = stage.stack.folder / "billing-bridge" / "out"
    files = await until("the files and their marker are there", lambda: _delivered(folder))
    first = {path.name: path.read_bytes() for path in files}
    stage.tell(
        "billing", f"batch {batch['batch']} is frozen: {batch['total_cents'] / 100:.2f} {batch['currency']}, {', '.join(first)}"
    )
    for path in files:
        if path.suffix in ENCODINGS:
            lines = path.read_text(encoding=ENCODINGS[path.suffix]).splitlines()
            stage.teller.table(path.name, ("line",), [(line,) for line in lines])
    stage.promises.hold("one batch with a fixed-width file, a CSV and a marker", len(first) >= 3, ", ".join(sorted(first)))
    stage.story.set(11, 5)
    again = await _again(stage, url)
    second = {path.name: path.read_bytes() for path in _delivered(folder)}
    stage.tell("billing", f"asked again: nothing new to bill ({again}), the files are the same byte for byte")
    stage.promises.hold(
        "a second export makes nothing new and changes no byte", again == "billing.nothing" and first == second, again
    )
    batches = await in_thread(stage.person("integrator").get, stage.url("billing-bridge", "batches"))
    stage.promises.figures["batches"] = len(batches)
    await _written_back(stage, closed)


def _delivered(folder: Path) -> list[Path]:
    """The files of the folder once its marker is there; empty before."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.exists() else []
    return files if any(path.suffix == ".done" for path in files) else []


async def _again(stage: Stage, url: str) -> str:
    try:
        batch = await in_thread(stage.person("integrator").post, url, {})
    except Refused as refusal:
        return refusal.code
    return f"another batch: {batch['batch']}"


async def _written_back(stage: Stage, closed: str) -> None:
    state = await stage.merged("billing.exported stands in the ledger", closed, lambda state: bool(state["exports"]))
    exports = state["exports"]
    stage.promises.hold("the export is an event of the intervention", len(exports) == 1, f"batch {exports[0]['batch']}")
