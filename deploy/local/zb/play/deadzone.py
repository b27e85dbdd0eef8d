"""Scene two: the network goes, the office replans, the technician works on, and the device is killed in the middle."""

from datetime import datetime
from pathlib import Path
from typing import Any, Final

from zb.office import Refused
from zb.play import pictures, reference
from zb.play.morning import starts_at
from zb.play.stage import HERO, Stage

SIGNER: Final = "Mme Fournier"
SHOWN: Final = "Porte palière remise en service. 1 patin de porte, 1 fusible. 15 min."


async def dead_zone(stage: Stage) -> None:
    """10:00 the office moves and cancels; 10:05 the technician, off line, starts both and closes one."""
    stage.story.set(9, 55)
    stage.teller.chapter("09:55  The network goes")
    await stage.networks[HERO].cut()
    stage.tell("network", f"{HERO}'s connections are cut: broker, ingest and media refuse")
    stage.story.set(10, 0)
    await _replan(stage)
    stage.story.set(10, 5)
    await _work(stage)
    await _kill(stage)
    stage.story.set(10, 20)
    await _close(stage)


async def _replan(stage: Stage) -> None:
    moved = await stage.command(stage.chosen["moved"], "move", planned_start=stage.story.text(16, 0), reason="customer is late")
    stage.tell("office", f"moves {moved['reference']} from 14:00 to {stage.story.local(moved['planned_start'])}")
    cancelled = await stage.command(stage.chosen["cancelled"], "cancel", reason="the customer repaired it")
    stage.tell("office", f"cancels {cancelled['reference']}: the customer repaired it")
    # The office's commands are in the ledger before the technician acts; the device cannot know.
    await stage.merged("the move is merged", moved["id"], starts_at(moved["planned_start"]))
    await stage.merged("the cancel is merged", cancelled["id"], lambda state: bool(state["status"] == "cancelled"))
    try:
        await stage.command(stage.chosen["cancelled"], "move", planned_start=stage.story.text(17, 0))
        refused = ""
    except Refused as refusal:
        refused = refusal.code
    stage.promises.hold("an office command that makes no sense is refused by name", refused == "plan.state", refused)


async def _record(stage: Stage, which: str, event: str, **body: Any) -> Any:
    return await stage.hero.call("record", type=f"intervention.{event}.v1", intervention=stage.chosen[which], body=body)


async def _work(stage: Stage) -> None:
    await _record(stage, "moved", "started", position=_position(stage, "moved"))
    stage.tell("field", "ana, off line, starts the one that the office has just moved")
    await _record(stage, "moved", "paused", reason="waiting for the caretaker")
    await _record(stage, "cancelled", "started", position=_position(stage, "cancelled"))
    stage.tell("field", "pauses it and starts the one that it has just cancelled; neither side can know of the other")
    for item in ("power-off", "doors"):
        await _record(stage, "cancelled", "checklist_answered", checklist=reference.CHECKLIST, item=item, answer=True)
    await _record(stage, "cancelled", "diagnosed", cause="door-shoe", diagnosis="Patin de porte usé, fusible fondu.")
    for number, label in enumerate(("avant", "après"), 1):
        await _photo(stage, number, label)
    stage.tell("field", "answers a checklist, takes two photos (JPEG with EXIF time and position)")


def _position(stage: Stage, which: str) -> dict[str, Any]:
    latitude, longitude = stage.places[stage.chosen[f"{which}_site"]]
    return {
        "latitude_e7": round(latitude * 1e7),
        "longitude_e7": round(longitude * 1e7),
        "accuracy_m": 8,
        "source": "gnss",
        "mock": False,
    }


async def _photo(stage: Stage, number: int, label: str) -> None:
    now: datetime = stage.story.now()
    latitude, longitude = stage.places[stage.chosen["cancelled_site"]]
    path = _picture(stage, f"photo-{number}.jpg", pictures.photo(label, now, latitude, longitude, number))
    taken = await stage.hero.call(
        "attach",
        intervention=stage.chosen["cancelled"],
        photo=str(path),
        label=label,
        taken_at=stage.story.text(10, 5),
        position=_position(stage, "cancelled"),
    )
    stage.photos.append(taken["sha256"])


def _picture(stage: Stage, name: str, data: bytes) -> Path:
    folder = stage.stack.folder / "pictures"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(data)
    return path


async def _kill(stage: Stage) -> None:
    before = await stage.hero.call("outbox", all=True)
    await stage.hero.kill()
    stage.tell("field", "the device's process is killed (SIGKILL) and started again")
    await stage.hero.start()
    after = await stage.hero.call("outbox", all=True)
    confirmed = {event["id"] for event in before["events"]}
    kept = {event["id"] for event in after["events"]}
    seen = f"{len(confirmed & kept)} of {len(confirmed)} events, {len(after['media'])} files"
    whole = confirmed <= kept and len(after["media"]) == len(stage.photos)
    stage.promises.hold("a killed device has everything that its screen confirmed", whole, seen)


async def _close(stage: Stage) -> None:
    intervention = stage.chosen["cancelled"]
    for part in ("DOOR-SHOE", "FUSE-10A"):
        await stage.hero.call("use_part", intervention=intervention, part=part, quantity="1")
    stroke = _picture(stage, "signature.png", pictures.signature(1))
    signed = await stage.hero.call("sign", intervention=intervention, strokes=str(stroke), signer=SIGNER, shown=SHOWN)
    stage.photos.append(signed["sha256"])
    await _record(stage, "cancelled", "done", work_done="Patin et fusible remplacés, essais faits.")
    await _record(stage, "moved", "resumed")
    stage.tell(
        "field", "uses two parts, takes the signature (the signer's name sealed on the device), closes it, resumes the first"
    )
    status = await stage.hero.call("status")
    head = status["events"]["head"]
    unsent = head - status["events"]["mark"]
    stage.tell("field", f"{unsent} signed events and {len(stage.photos)} files wait on the device; nothing has left it")
    stage.promises.hold("off line, nothing leaves and nothing is missing", unsent == head > 0, f"{unsent} of {head} events wait")
