"""Server: what the servers of these tests share: a port, connections, and the end of them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

import h11

from tests.support.signalr.wire import Exchange, Wire

PATIENCE: Final = 30.0
"""Seconds that something may take on a busy machine; far above what it does take."""


class LoopbackServer:
    """An HTTP server on a loopback port, as a context.

    Attributes:
        port: where it listens, or did last.
        violations: what clients have done that they must not.
        peers: the ports that connections came from.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.violations: list[str] = []
        self.peers: set[int] = set()
        self._tls = tls
        self._wires: set[Wire] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many TCP connections are open."""
        return len(self._wires)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything; may be called twice."""
        if self._server is None:
            return
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()
        self._server = None

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something holds; fails with the violations so far."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():  # noqa: ASYNC110 - any condition
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"it did not come so: {self.story()}") from None

    def story(self) -> str:
        """Return the events so far, for the message of a failing test."""
        return f"violations {self.violations}"

    def close_connections(self) -> None:
        """Close all connections, after what was written on them."""
        for wire in self._wires:
            wire.writer.close()

    async def answer(self, exchange: Exchange) -> None:
        """Answer a request."""
        raise NotImplementedError

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._wires.add(wire)
        self.peers.add(writer.get_extra_info("peername")[1])
        try:
            while exchange := await wire.next():
                await self.answer(exchange)
                if not exchange.keep:
                    break
        except h11.RemoteProtocolError as error:
            self.violations.append(f"no HTTP: {error}")
        except asyncio.CancelledError:
            pass  # the server stops
        except Exception as error:  # noqa: BLE001 - must fail the test
            self.violations.append(f"the server itself failed: {error!r}")
        finally:
            self._wires.discard(wire)
            self._tasks.discard(task)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()
