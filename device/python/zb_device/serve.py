"""`zb-device serve --json`: one JSON command a line in, one JSON answer a line out, syncing in the background.

The interface shell of a handheld drives it. An answer is written only after what it confirms is on disk; killed at any point and
started again, it goes on. It reads commands in order and answers each, whatever happens to one.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any, Final, TextIO

import msgspec

from zb_contracts.problems import Problem
from zb_device.command_register import told
from zb_device.commands import run
from zb_device.device import Device
from zb_device.faults import CommandInvalid, DeviceFault

LINE_BYTES_MAX: Final = 1024 * 1024

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
    async for line in _lines():
        if line.strip():
            _write(output, await answer(device, line))


async def answer(device: Device, line: bytes) -> Json:
    """The answer to one line. Never raises for what a command or its arguments did."""
    tag: Any = None
    try:
        request = _parsed(line)
        tag = request.pop("id", None)
        result: Json = {"ok": True, "result": await run(device, str(request.pop("command", "")), request)}
    except (DeviceFault, Problem) as fault:
        result = told(fault)
    return result if tag is None else {"id": tag, **result}


def _parsed(line: bytes) -> Json:
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise CommandInvalid(f"not a line of JSON: {fault}") from fault
    if not isinstance(value, dict):
        raise CommandInvalid('a command is an object: {"command": "status"}')
    return value


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
