"""One running platform for the tests from outside: started when the first test asks for it, shared by all that do.

`platform` is a stack of its own on a generated city, with people to call it as; `crew` is the same with the day planned and
three devices enrolled. A test that stops or kills a part brings it back before it ends.
"""

import io
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from tests.fixtures.memory import place
from zb.datasets.city import french_city
from zb.play.morning import morning
from zb.play.stage import Stage, StoryTime
from zb.play.telling import Teller
from zb.stack import Stack


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder of the module's own for a stack: not under pytest's, whose parent every other run as root shuts again."""
    with tempfile.TemporaryDirectory(prefix="zb-home-", dir=place(), ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def platform() -> Iterator[Stage]:
    """nats-server, PostgreSQL, the issuer and the four services, running; nothing is imported yet."""
    with tempfile.TemporaryDirectory(prefix="zb-platform-", dir=place(), ignore_cleanup_errors=True) as folder:
        yield from _running(Path(folder))


def _running(folder: Path) -> Iterator[Stage]:
    folder.mkdir(mode=0o700, exist_ok=True)
    dataset = french_city()
    story = StoryTime(folder / "clock", dataset)
    story.set(7, 55)
    with Stack(folder, clock_file=story.file).running() as stack:
        stage = Stage(stack, dataset, story, Teller(Console(file=io.StringIO())), "en")
        yield stage
        stage.close()


@pytest.fixture(scope="session")
async def crew(platform: Stage) -> AsyncIterator[Stage]:
    """The morning has passed: everything is imported and planned, and ana, ben and chloe have their day on their devices."""
    async with after_the_morning(platform):
        yield platform


@pytest.fixture(scope="module")
async def lost_crew(home: Path) -> AsyncIterator[Stage]:
    """The same, of the module's own: for tests after which devices and platform remember what they lost."""
    with contextmanager(_running)(home / "up") as platform:
        async with after_the_morning(platform):
            yield platform


@asynccontextmanager
async def after_the_morning(platform: Stage) -> AsyncIterator[None]:
    try:
        await morning(platform)
        assert [promise for promise in platform.promises.kept if not promise.held] == []
        yield
    finally:
        for handheld in platform.handhelds.values():
            await handheld.stop()
        for network in platform.networks.values():
            await network.cut()
