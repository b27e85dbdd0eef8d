"""The network between a device and the platform, which can really be cut: a TCP relay on loopback.

`cut` closes the listening sockets and resets every connection; `mend` listens again on the same ports. It shapes no traffic
and reads none.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Final

HOST: Final = "127.0.0.1"
CHUNK_BYTES: Final = 64 * 1024


@dataclass
class Cable:
    """One relayed port: `port` on our side, `target_port` on the platform's."""

    target_port: int
    port: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    _server: asyncio.Server | None = None
    _ends: set[asyncio.StreamWriter] = field(default_factory=set)

    async def mend(self) -> None:
        """Take connections (again, on the same port)."""
        if self._server is None:
            self._server = await asyncio.start_server(self._relay, HOST, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuse new connections and break the open ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for end in list(self._ends):
            end.transport.abort()
        self._ends.clear()

    async def _relay(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        try:
            far_reader, far = await asyncio.open_connection(HOST, self.target_port)
        except OSError:
            near.close()
            return
        self._ends |= {near, far}
        await asyncio.gather(self._pump(near_reader, far, up=True), self._pump(far_reader, near, up=False))
        self._ends -= {near, far}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(CHUNK_BYTES):
                if up:
                    self.bytes_up += len(data)
                else:
                    self.bytes_down += len(data)
                writer.write(data)
                await writer.drain()
        writer.close()


class Network:
    """All cables of one device."""

    def __init__(self, **target_ports: int) -> None:
        self.cables = {name: Cable(port) for name, port in target_ports.items()}

    async def mend(self) -> None:
        for cable in self.cables.values():
            await cable.mend()

    async def cut(self) -> None:
        for cable in self.cables.values():
            await cable.cut()

    def port(self, name: str) -> int:
        return self.cables[name].port
