"""The SDK for programs without an event loop: the same names and promises, each call returns when the other's would.

One thread runs the loop, the store and the network; calls from any thread go there one after the other, and the background goes
on between them. Nothing is decided here: each method is `Device`'s own, with its signature.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from zb_device import device as aio
from zb_device import surroundings
from zb_device import work as aio_work
from zb_device.clock import Clock
from zb_device.enrolment import Invitation
from zb_device.policies import Policy
from zb_device.settings import LockPolicy
from zb_device.transport import Transport

P = ParamSpec("P")
R = TypeVar("R")


class Loop:
    """A thread with an event loop, from `Loop()` until `stop`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="zb-device", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """The result of `work`, done in the loop; raises what it raises."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    @property
    def stopped(self) -> bool:
        return self._loop.is_closed()

    def stop(self) -> None:
        """Once nothing runs in it any more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Blocking:
    """Something of the SDK, and the loop in which it lives."""

    def __init__(self, inner: Any, loop: Loop) -> None:
        self._inner = inner
        self._loop = loop


def waits(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]) -> Callable[Concatenate[Any, P], R]:
    """The method, waited for."""

    def waiting(self: Blocking, /, *args: P.args, **named: P.kwargs) -> R:
        return self._loop.run(method(self._inner, *args, **named))

    waiting.__doc__ = method.__doc__
    return waiting


def calls(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """The method, called where the store is open."""

    def calling(self: Blocking, /, *args: P.args, **named: P.kwargs) -> R:
        async def there() -> R:
            return method(self._inner, *args, **named)

        return self._loop.run(there())

    calling.__doc__ = method.__doc__
    return calling


class Work(Blocking):
    """As `work.Work`."""

    state = calls(aio_work.Work.state)
    travel = waits(aio_work.Work.travel)
    stop_travel = waits(aio_work.Work.stop_travel)
    arrive = waits(aio_work.Work.arrive)
    start = waits(aio_work.Work.start)
    pause = waits(aio_work.Work.pause)
    resume = waits(aio_work.Work.resume)
    leave = waits(aio_work.Work.leave)
    release = waits(aio_work.Work.release)
    done = waits(aio_work.Work.done)
    not_done = waits(aio_work.Work.not_done)
    diagnose = waits(aio_work.Work.diagnose)
    set_equipment_state = waits(aio_work.Work.set_equipment_state)
    answer = waits(aio_work.Work.answer)
    measure = waits(aio_work.Work.measure)
    comment = waits(aio_work.Work.comment)
    edit_comment = waits(aio_work.Work.edit_comment)
    use_part = waits(aio_work.Work.use_part)
    void = waits(aio_work.Work.void)
    attach = waits(aio_work.Work.attach)
    sign = waits(aio_work.Work.sign)
    refuse_signature = waits(aio_work.Work.refuse_signature)
    quote = waits(aio_work.Work.quote)
    take_payment = waits(aio_work.Work.take_payment)
    request_follow_up = waits(aio_work.Work.request_follow_up)
    ask = waits(aio_work.Work.ask)
    accept = waits(aio_work.Work.accept)
    decline = waits(aio_work.Work.decline)
    acknowledge = waits(aio_work.Work.acknowledge)


class Site(Blocking):
    """As `surroundings.Site`."""

    change = waits(surroundings.Site.change)


class Equipment(Blocking):
    """As `surroundings.Equipment`."""

    identify = waits(surroundings.Equipment.identify)


class Stock(Blocking):
    """As `surroundings.Stock`."""

    move = waits(surroundings.Stock.move)


class Shift(Blocking):
    """As `surroundings.Shift`."""

    start = waits(surroundings.Shift.start)
    end = waits(surroundings.Shift.end)
    note = waits(surroundings.Shift.note)


class Device(Blocking):
    """As `device.Device`. Make it with `enrol` or `open`, and close it, or use it in a `with`."""

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        unlock: str | None = None,
        technician: str | None = None,
        clock: Clock | None = None,
        transport: Transport | None = None,
    ) -> Self:
        """As `device.Device.open`."""

        async def opened() -> aio.Device:
            return aio.Device.open(path, unlock=unlock, technician=technician, clock=clock, transport=transport)

        return cls._made(opened())

    @classmethod
    def enrol(
        cls,
        path: Path,
        invitation: Invitation,
        pin: str,
        *,
        clock: Clock | None = None,
        transport: Transport | None = None,
    ) -> Self:
        """As `device.Device.enrol`."""
        return cls._made(aio.Device.enrol(path, invitation, pin, clock=clock, transport=transport))

    @classmethod
    def _made(cls, making: Coroutine[Any, Any, aio.Device]) -> Self:
        loop = Loop()
        try:
            return cls(loop.run(making), loop)
        except BaseException:
            loop.stop()
            raise

    def close(self) -> None:
        """As `device.Device.close`; the thread ends with it. A second time changes nothing."""
        if not self._loop.stopped:
            self._loop.run(self._inner.close())
            self._loop.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    check = calls(aio.Device.check)
    sign_in = waits(aio.Device.sign_in)
    unlock = waits(aio.Device.unlock)
    change_pin = waits(aio.Device.change_pin)
    use_lock = calls(aio.Device.use_lock)
    lock = calls(aio.Device.lock)
    record = waits(aio.Device.record)
    record_all = waits(aio.Device.record_all)
    attach = waits(aio.Device.attach)
    reader_box = calls(aio.Device.reader_box)
    outbox = calls(aio.Device.outbox)
    status = calls(aio.Device.status)
    deal_with = calls(aio.Device.deal_with)
    try_again = calls(aio.Device.try_again)
    state = calls(aio.Device.state)
    intervention = calls(aio.Device.intervention)
    shown = calls(aio.Device.shown)
    listed = calls(aio.Device.listed)
    documents = calls(aio.Device.documents)
    catalogue = calls(aio.Device.catalogue)
    sync = waits(aio.Device.sync)
    upload = waits(aio.Device.upload)
    start = calls(aio.Device.start)
    tell = calls(aio.Device.tell)
    describe = calls(aio.Device.describe)
    use = calls(aio.Device.use)
    moment_in_s = calls(aio.Device.moment_in_s)
    offline = waits(aio.Device.offline)
    online = calls(aio.Device.online)
    settled = calls(aio.Device.settled)
    uploaded = calls(aio.Device.uploaded)
    wait_until = waits(aio.Device.wait_until)

    def _read(self, look: Callable[[aio.Device], R]) -> R:
        # Properties, too, read the store, which is open in the loop's thread alone.
        async def there() -> R:
            return look(self._inner)

        return self._loop.run(there())

    def work_on(self, intervention: str) -> Work:
        """As `device.Device.work_on`."""
        return Work(self._inner.work_on(intervention), self._loop)

    def site(self, site: str) -> Site:
        return Site(self._inner.site(site), self._loop)

    def equipment(self, equipment: str) -> Equipment:
        return Equipment(self._inner.equipment(equipment), self._loop)

    def stock(self, stock: str | None = None) -> Stock:
        return Stock(self._read(lambda device: device.stock(stock)), self._loop)

    def shift(self, day: str | None = None) -> Shift:
        return Shift(self._read(lambda device: device.shift(day)), self._loop)

    @property
    def technician(self) -> str | None:
        return self._read(lambda device: device.technician)

    @property
    def van(self) -> str:
        return self._read(lambda device: device.van)

    @property
    def unlocked(self) -> bool:
        return self._read(lambda device: device.unlocked)

    @property
    def is_online(self) -> bool:
        return self._read(lambda device: device.is_online)

    @property
    def lock_policy(self) -> LockPolicy:
        return self._read(lambda device: device.lock_policy)

    @property
    def policy(self) -> Policy:
        return self._read(lambda device: device.policy)
