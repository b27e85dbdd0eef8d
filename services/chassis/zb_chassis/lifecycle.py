"""The life of a service's process: background tasks and the HTTP server in one event loop, drained on SIGTERM.

A background task that ends with a fault ends the process with its name, so that whoever supervises can start it again;
nothing limps on. It opens no connection itself: `app.py` does, and closes in reverse order.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
import uvicorn

if TYPE_CHECKING:  # half a second, of which programs that serve nothing need none
    from fastapi import FastAPI

DRAIN_TIMEOUT_S: Final = 15
Task = Callable[[asyncio.Event], Awaitable[None]]
"""A background task: runs until the event is set, finishes what is in flight, returns."""

T = TypeVar("T")

log = structlog.get_logger()


class TaskDied(RuntimeError):
    """A background task ended with a fault, or before it was told to."""


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the process has one owner of signals."""

    def install_signal_handlers(self) -> None:
        return


async def serve(app: "FastAPI | None", host: str, port: int, tasks: Mapping[str, Task]) -> None:
    """Run until SIGTERM or SIGINT, or until a task dies (TaskDied). Everything has ended when this returns."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = {name: asyncio.create_task(_named(task, stop), name=name) for name, task in tasks.items()}
    if app is not None:
        running["http"] = asyncio.create_task(_http(app, host, port, stop), name="http")
    watcher = asyncio.create_task(stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait([*running.values(), watcher], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.set()
    await _drained(running)
    watcher.cancel()
    for name, task in running.items():
        if task in done and watcher not in done:
            raise TaskDied(f"the task {name} has ended: {task.exception() or 'too early'}") from task.exception()


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The work's result; None, with the work cancelled, when `stop` is set before."""
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        stopping.cancel()
        task.cancel()
        await asyncio.gather(task, stopping, return_exceptions=True)


async def _named(task: Task, stop: asyncio.Event) -> None:
    await task(stop)


async def _http(app: "FastAPI", host: str, port: int, stop: asyncio.Event) -> None:
    config = uvicorn.Config(
        app, host=host, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=DRAIN_TIMEOUT_S, lifespan="off"
    )
    server = _Server(config)

    async def leave() -> None:
        await stop.wait()
        server.should_exit = True

    leaving = asyncio.create_task(leave())
    try:
        await server.serve()
    except SystemExit as fault:  # uvicorn's word for a port in use
        raise TaskDied(f"port {port} on {host} is in use: give another one") from fault
    finally:
        leaving.cancel()


async def _drained(running: Mapping[str, asyncio.Task[None]]) -> None:
    pending = [task for task in running.values() if not task.done()]
    if pending:
        _, late = await asyncio.wait(pending, timeout=DRAIN_TIMEOUT_S)
        for task in late:
            log.warning("a task did not stop in time", task=task.get_name(), timeout_s=DRAIN_TIMEOUT_S)
            task.cancel()
        await asyncio.gather(*running.values(), return_exceptions=True)
