"""Faults of a network: a TCP proxy in front of a server that cuts, resets, freezes and forgets."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: closing the socket resets the connection."""


class Proxy:
    """A TCP proxy on a free port of 127.0.0.1; use as ``async with Proxy(port) as proxy``.

    Attributes:
        port: where it listens; the same after `cut` and `mend`.
        accepted: connections that were made to it.
        held: bytes that wait in it while it is frozen.
        rate: bytes that it lets through per second and direction.
        target: the port of the server for connections that are made from now on.
    """

    def __init__(self, target: int) -> None:
        """Take the server's port on this machine."""
        self.port = 0
        self.accepted = 0
        self.held = 0
        self.rate = math.inf
        self.target = target
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._accepting: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._freezes_at = b""
        self._forgets = False

    @property
    def url(self) -> str:
        """The near end, in the form of ``redis_url``."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """The connections that are open now."""
        return len(self._links)

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.cut()

    async def mend(self) -> None:
        """Let connections through; for a proxy that was cut."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Refuse new connections, and close those that are open, as they stand."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        await self._end(reset=False)

    async def reset(self) -> None:
        """Reset all open connections on both sides; new ones are let through."""
        await self._end(reset=True)

    def freeze(self, at: bytes = b"") -> None:
        """Hold back all bytes, also of new connections, until `thaw`; none is lost.

        Args:
            at: begin with what holds this; at once if it is empty.
        """
        self._freezes_at = at
        if not at:
            self._flowing.clear()

    def thaw(self) -> None:
        """Deliver what was held back, and let bytes through again."""
        self._freezes_at = b""
        self._flowing.set()

    async def flow(self, data: bytes) -> None:
        """Wait until some bytes may go through; for its links."""
        if self._freezes_at and self._freezes_at in data:
            self._flowing.clear()
        self.held += len(data)
        await self._flowing.wait()
        self.held -= len(data)
        if self.rate < math.inf:
            await asyncio.sleep(len(data) / self.rate)

    def half_open(self, *, for_new: bool = False) -> None:
        """Lose what is sent over the open connections from now on; neither side is told.

        Args:
            for_new: also over connections that are made after this, until `heal`.
        """
        self._forgets = for_new
        for link in self._links:
            link.forgets = True

    def heal(self) -> None:
        """Let new connections through again; those that are half open stay so."""
        self._forgets = False

    async def _end(self, *, reset: bool) -> None:
        ending = [link.end(reset=reset) for link in self._links]
        await asyncio.gather(*ending)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._accepting.add(task)
        try:
            far = await asyncio.open_connection("127.0.0.1", self.target)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            return
        finally:
            self._accepting.discard(task)
        link = _Link((reader, writer), far, self.flow)
        link.forgets = self._forgets
        self._links.add(link)
        await link.carry()
        self._links.discard(link)


class _Link:
    """One connection through the proxy."""

    def __init__(
        self,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        flow: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self.forgets = False
        self._ends = near, far
        self._flow = flow
        self._tasks: list[asyncio.Task[None]] = []

    async def carry(self) -> None:
        """Carry bytes both ways until one side closes."""
        (near_in, near_out), (far_in, far_out) = self._ends
        self._tasks = [
            asyncio.create_task(self._pump(near_in, far_out)),
            asyncio.create_task(self._pump(far_in, near_out)),
        ]
        await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        await self.end(reset=False)

    async def end(self, *, reset: bool) -> None:
        """Close both sides at once."""
        for _, writer in self._ends:
            if reset and not writer.transport.is_closing():
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, _RESET
                )
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                await self._flow(data)
                if not self.forgets:
                    sink.write(data)
                    await sink.drain()
            if self.forgets:
                await asyncio.Event().wait()  # nor does the other side hear of the end
        except (OSError, RuntimeError):  # reset; uvloop says so with a RuntimeError
            return
