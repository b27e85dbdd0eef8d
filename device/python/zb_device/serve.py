"""`zb-device serve --json`: one JSON command a line in, one JSON answer a line out, syncing in the background.

The interface shell of a handheld drives it. An answer is written only after what it confirms is on disk; killed at any point and
started again, it goes on. Each command is answered, whatever happens to one: in order, but for those that wait for the network,
which hold nothing up.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any, Final, TextIO

import msgspec

from zb_contracts.problems import Problem
from zb_device.command_register import COMMANDS, told
from zb_device.commands import run
from zb_device.device import Device
from zb_device.faults import CommandInvalid, DeviceFault

LINE_BYTES_MAX: Final = 1024 * 1024
WAITING_MAX: Final = 32
"""Commands that wait for the network at once; one more is answered before the next line is read."""

Json = dict[str, Any]


async def serve(device: Device, output: TextIO) -> None:
    """Answer commands from standard input until it ends or SIGTERM comes."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    stop = asyncio.ensure_future(stopped.wait())
    reading = asyncio.ensure_future(_answer_all(device, output))
    await asyncio.wait({stop, reading}, return_when=asyncio.FIRST_COMPLETED)
    for task in (stop, reading):
        task.cancel()
    results = await asyncio.gather(stop, reading, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _answer_all(device: Device, output: TextIO) -> None:
    running: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as group:
        async for line in _lines():
            if not line.strip():
                continue
            request = _request(line)
            if isinstance(request, CommandInvalid):
                _write(output, told(request))
            elif _waits(request) and len(running) < WAITING_MAX:
                task = group.create_task(_answered(device, request, output))
                running.add(task)
                task.add_done_callback(running.discard)
            else:
                await _answered(device, request, output)


async def _answered(device: Device, request: Json, output: TextIO) -> None:
    """Write the answer to one command; never raises for what the command or its arguments did."""
    tag = request.pop("id", None)
    try:
        answer: Json = {"ok": True, "result": await run(device, str(request.pop("command", "")), request)}
    except (DeviceFault, Problem) as fault:
        answer = told(fault)
    _write(output, answer if tag is None else {"id": tag, **answer})


def _waits(request: Json) -> bool:
    command = COMMANDS.get(str(request.get("command")))
    return command is not None and command.waits


def _request(line: bytes) -> Json | CommandInvalid:
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        return CommandInvalid(f"not a line of JSON: {fault}")
    return value if isinstance(value, dict) else CommandInvalid('a command is an object: {"command": "status"}')


async def _lines() -> AsyncIterator[bytes]:
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    try:
        while True:
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as end:
                if end.partial:
                    yield end.partial
                return
            except asyncio.LimitOverrunError:
                await _skip_line(reader)
                line = b"too long"
            yield line
    finally:
        transport.close()


async def _skip_line(reader: asyncio.StreamReader) -> None:
    """Drop the rest of a line that is longer than the limit."""
    while True:
        try:
            await reader.readuntil(b"\n")
            return
        except asyncio.LimitOverrunError as overrun:
            await reader.readexactly(max(overrun.consumed, 1))


def _write(output: TextIO, value: Json) -> None:
    output.write(msgspec.json.encode(value).decode() + "\n")
    output.flush()
