"""A TCP proxy that injects network faults, in front of a store or of several gateways."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import Final, Self

_CHUNK: Final = 65_536
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: close() sends a reset
_CONNECT_TIMEOUT: Final = 0.2  # seconds; all servers are on this machine


class Mode(StrEnum):
    """How a proxy treats connections."""

    PASS = "pass"  # noqa: S105 - no password
    """Pass everything on."""
    STALL = "stall"
    """Pass nothing on; keep it, and deliver it when the mode changes."""
    REFUSE = "refuse"
    """Reset all connections, and refuse new ones."""


class Link:
    """A client's connection, and the one to the server that belongs to it.

    Attributes:
        server: the server's port.
        half_open: whether everything is discarded, the end of either connection too.
    """

    def __init__(self, proxy: Proxy, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.server = far.get_extra_info("peername")[1]
        self.half_open = False
        self._aborted = asyncio.Event()
        self._proxy = proxy
        self._writers = (near, far)

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Forward one direction to its end; returns whether it ended without an error."""
        clean = True
        try:
            while data := await reader.read(_CHUNK):
                await self._proxy.passing.wait()
                if not self.half_open:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            clean = False
        if self.half_open:
            await self._aborted.wait()
        return clean

    def reset(self) -> None:
        """Reset both connections."""
        self._aborted.set()
        for writer in self._writers:
            if (connection := writer.get_extra_info("socket")) is not None:
                with suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    def close(self) -> None:
        """Close both connections after what was written to them."""
        for writer in self._writers:
            writer.close()


class Proxy:
    """A proxy on a port of this machine; use as ``async with``.

    Attributes:
        name: for reports.
        port: where it listens.
        links: the present connections.
        passing: set while bytes are passed on.
    """

    def __init__(
        self,
        name: str,
        target: Callable[[], int],
        *,
        ended: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Make a proxy that does not listen yet.

        Args:
            name: for reports.
            target: returns the server's port for a new connection.
            ended: called with a server's port when the server has ended a connection.
        """
        self.name = name
        self.port = 0
        self.links: set[Link] = set()
        self.passing = asyncio.Event()
        self.passing.set()
        self._target = target
        self._ended = ended
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop_listening()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def set_mode(self, mode: Mode) -> None:
        """Change the mode, for present and new connections."""
        if mode is Mode.REFUSE:
            self._stop_listening()
            self.reset()
        elif self._server is None:
            await self._listen()
        if mode is Mode.STALL:
            self.passing.clear()
        else:
            self.passing.set()

    def reset(self) -> None:
        """Reset the present connections once."""
        for link in list(self.links):
            link.reset()

    def make_half_open(self) -> None:
        """Discard everything on the present connections from now on; new ones pass."""
        for link in self.links:
            link.half_open = True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # In a task of our own: asyncio would log the cancellation of its own.
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        await asyncio.wait({task})
        self._tasks.discard(task)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.passing.wait()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target())
        except OSError:  # TimeoutError is one
            writer.transport.abort()
            return
        link = Link(self, writer, far_writer)
        self.links.add(link)
        there = asyncio.create_task(link.forward(reader, far_writer))
        back = asyncio.create_task(link.forward(far_reader, writer))
        try:
            done, _ = await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
            if there not in done:
                self._ended(link.server)
            if all(task.result() for task in done):
                link.close()
            else:
                link.reset()
        finally:
            self.links.discard(link)
            for task in (there, back):
                task.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
            far_writer.close()
