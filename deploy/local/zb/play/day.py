"""The day, scene by scene, on a stack of its own; then the verdict. Nothing is left running unless the reader wants to look.

The exit code is 0 only when every promise held. A scene that cannot go on breaks the play with its reason told.
"""

import asyncio
import signal
import threading
import time
from pathlib import Path
from typing import Final

import httpx
from nats.errors import Error as NatsError
from rich.console import Console

from zb.datasets import Dataset
from zb.office import Refused
from zb.play.attack import attack
from zb.play.deadzone import dead_zone
from zb.play.export import export
from zb.play.handheld import HandheldRefused
from zb.play.morning import morning
from zb.play.proof import proof
from zb.play.reunion import reunion
from zb.play.stage import Stage, StoryTime, WaitedInVain
from zb.play.telling import Teller
from zb.stack import Stack, forget

PROMISES_FILE: Final = "promises.json"
LOOK_ROUND_S: Final = 0.5
SCENES: Final = (morning, dead_zone, reunion, attack, export, proof)
FIGURES: Final = (
    "admitted",
    "refused",
    "rejected",
    "lost",
    "stored_twice",
    "photos",
    "batches",
    "state_hash",
    "replay_hash",
)
STOPPERS: Final = (WaitedInVain, Refused, HandheldRefused, httpx.HTTPError, NatsError, RuntimeError, KeyError)


def play(folder: Path, dataset: Dataset, *, leave: bool, language: str, console: Console, shards: int | None = None) -> int:
    """Play the day in `folder`, which is emptied first. Returns the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does: whoever ends the play leaves nothing behind
    forget(folder)
    folder.mkdir(mode=0o700, parents=True)
    story = StoryTime(folder / "clock", dataset)
    story.set(7, 55)
    stack = Stack(folder, clock_file=story.file, shards=shards)
    teller = Teller(console)
    teller.title(
        "Zone Blanche: one technician's day", f"{dataset.title}\non a real nats-server, a real PostgreSQL and four services"
    )
    with stack.running(lambda text: teller.tell(f"{story.now():%H:%M}", "system", text)):
        stage = Stage(stack, dataset, story, teller, language)
        stage.promises.figures = dict.fromkeys(FIGURES)
        began = time.monotonic()
        asyncio.run(_scenes(stage))
        seconds = time.monotonic() - began
        teller.verdict(stage.promises)
        stage.promises.write(folder / PROMISES_FILE)
        teller.console.print(f"photos, ERP files, logs and {PROMISES_FILE} lie in {folder}", soft_wrap=True, highlight=False)
        if not leave:
            _look_round(stage)
    if leave:
        console.print(stage.promises.last_line(seconds), soft_wrap=True, highlight=False, markup=False)
    return 0 if stage.promises.all_held else 1


async def _scenes(stage: Stage) -> None:
    try:
        for scene in SCENES:
            await scene(stage)
    except STOPPERS as fault:
        stage.promises.hold("the play can be played to its end", False, f"{type(fault).__name__}: {fault}")
    finally:
        for handheld in stage.handhelds.values():
            await handheld.stop()
        for network in stage.networks.values():
            await network.cut()


def _look_round(stage: Stage) -> None:
    """Keep everything up until Ctrl-C, and say where it is."""
    stack = stage.stack
    rows = [(service.name, service.url) for service in stack.services.values()]
    rows += [("nats-server", stack.nats.url), ("nats-server, browsers", stack.nats.websocket_url)]
    rows += [(f"password of {name}", password) for name, password in stack.passwords.items()]
    stage.teller.table("Everything stays up until Ctrl-C", ("what", "where"), rows)
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: told.set())
    while not told.wait(LOOK_ROUND_S):
        pass
