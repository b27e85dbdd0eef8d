"""One running platform for the tests from outside: started when the first test asks for it, shared by all that do.

`platform` is a stack of its own on a generated city, with people to call it as; `crew` is the same with the day planned and
three devices enrolled. A test that stops or kills a part brings it back before it ends.
"""

import io
from collections.abc import AsyncIterator, Iterator

import pytest
from rich.console import Console

from zb.datasets.city import french_city
from zb.play.morning import morning
from zb.play.stage import Stage, StoryTime
from zb.play.telling import Teller
from zb.stack import Stack


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """nats-server, PostgreSQL, the issuer and the four services, running; nothing is imported yet."""
    folder = tmp_path_factory.mktemp("platform")
    dataset = french_city()
    story = StoryTime(folder / "clock", dataset)
    story.set(7, 55)
    with Stack(folder, clock_file=story.file).running() as stack:
        yield Stage(stack, dataset, story, Teller(Console(file=io.StringIO())), "en")


@pytest.fixture(scope="session")
async def crew(platform: Stage) -> AsyncIterator[Stage]:
    """The morning has passed: everything is imported and planned, and ana, ben and chloe have their day on their devices."""
    try:
        await morning(platform)
        assert [promise for promise in platform.promises.kept if not promise.held] == []
        yield platform
    finally:
        for handheld in platform.handhelds.values():
            await handheld.stop()
        for network in platform.networks.values():
            await network.cut()
