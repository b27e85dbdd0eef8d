"""The SDK without an event loop: every name of the other, from any thread, one call after the other."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fixtures.little_platform import PIN, Wire
from zb_device import blocking, device, surroundings, work
from zb_device.faults import VisitRefused, WrongPin
from zb_device.policies import Conditions, Link
from zb_device.standing import Standing

OF_THE_LOOP = {"network", "opened", "parts", "present"}
"""What only has a meaning, or can only be touched, within the loop."""


@pytest.fixture
def handheld(platform, hands, tmp_path):
    made = blocking.Device.enrol(tmp_path / "device", platform.invitation(), PIN, clock=hands.clock(), transport=Wire(platform))
    with made:
        yield made


def names(kind: type) -> set[str]:
    return {name for name in dir(kind) if name[0] != "_"}


@pytest.mark.parametrize(
    ("mine", "theirs", "without"),
    [
        (blocking.Device, device.Device, OF_THE_LOOP),
        (blocking.Work, work.Work, {"device", "intervention", "stream"}),
        *(
            (getattr(blocking, name), getattr(surroundings, name), {"device", "stream"})
            for name in ("Site", "Equipment", "Stock", "Shift")
        ),
    ],
)
def test_it_has_every_name_of_the_other(mine, theirs, without):
    assert names(mine) == names(theirs) - without


def test_a_day_without_a_loop(handheld, platform, hands, tmp_path):
    boiler = handheld.work_on("leaky-boiler")
    boiler.start()
    handheld.shift().note("black ice on the pass")
    handheld.tell(Conditions(link=Link.METERED))
    boiler.attach(b"a photo of a boiler", mime="image/jpeg")
    boiler.done(work_done="new seal")
    with pytest.raises(VisitRefused):
        boiler.pause()
    assert (handheld.technician, handheld.unlocked, handheld.van, handheld.policy.name) == (
        "tech-anna",
        True,
        "van-tech-anna",
        "standard",
    )

    handheld.start()
    assert handheld.wait_until(handheld._inner.settled, 20)
    assert {event.state for event in handheld.outbox(everything=True).events} == {Standing.ADMITTED}
    assert boiler.state().status == "done"
    assert platform.files == {}
    handheld.close()

    with pytest.raises(WrongPin):
        blocking.Device.open(tmp_path / "device", unlock="000000", clock=hands.clock())
    with blocking.Device.open(tmp_path / "device", unlock=PIN, clock=hands.clock(), transport=Wire(platform)) as again:
        assert [(line.id, line.status, line.pending) for line in again.listed()] == [("leaky-boiler", "done", False)]
        assert again.upload() == 1


def test_calls_from_many_threads_are_one_chain(handheld, platform):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: handheld.work_on("leaky-boiler").comment(f"remark {number}"), range(40)))
    assert sorted(one.seq for one in made) == list(range(1, 41))
    assert handheld.sync().receipts == 40
