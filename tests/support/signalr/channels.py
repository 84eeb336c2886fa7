"""Channels of the test SignalR hub: they send frames to a client by each of the three transports.

A channel sends a frame on an open exchange: whole, in part, or after a while.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from tests.support.signalr.wire import JSON_TYPE, Exchange, WebSocket


class Channel(Protocol):
    """An open connection that frames can be sent by."""

    exchange: Exchange
    transport: str

    def send(self, frame: bytes) -> None:
        """Send a whole frame, or whatever else a test wants a client to take for one."""

    def send_part(self, frame: bytes) -> None:
        """Send the first half of what a frame is wrapped in."""

    def keep_alive(self) -> None:
        """Say that the SignalR hub is there."""

    def end(self) -> None:
        """End in good order."""

    async def serve(self) -> list[bytes]:
        """Return the client's bytes when either side has ended it."""


class WebSocketChannel:
    """Text messages."""

    transport = "webSockets"

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._socket = WebSocket(exchange)

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def send_part(self, frame: bytes) -> None:
        self._socket.send_part(frame, len(frame) // 2)

    def keep_alive(self) -> None:
        self.send(b"{}")

    def end(self) -> None:
        self._socket.close()

    async def serve(self) -> list[bytes]:
        return await self._socket.messages()


class EventStream:
    """Lines of an answer that does not end."""

    transport = "serverSentEvents"

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        exchange.stream("text/event-stream")
        exchange.chunk(b"data: initialized\n\n")
        exchange.keep = False

    def send(self, frame: bytes) -> None:
        # On Windows, SignalR ends its frames' lines this way, and those of keep-alives with \n.
        self.exchange.chunk(b"data: " + frame + b"\r\n\r\n")

    def send_part(self, frame: bytes) -> None:
        self.exchange.chunk(b"data: " + frame[: len(frame) // 2])

    def keep_alive(self) -> None:
        self.exchange.chunk(b"data: {}\n\n")

    def end(self) -> None:
        self.exchange.end()
        self.exchange.cut()

    async def serve(self) -> list[bytes]:
        await self.exchange.gone()
        return []


class Poll:
    """A long poll: its answer waits for a frame, and ends with it."""

    transport = "longPolling"

    def __init__(self, exchange: Exchange, timeout: float, nothing: bytes) -> None:
        self.exchange = exchange
        self._timeout = timeout
        self._nothing = nothing
        self._done = asyncio.Event()
        exchange.stream(JSON_TYPE)

    def send(self, frame: bytes) -> None:
        if not self._done.is_set():
            self.exchange.chunk(frame)
            self.exchange.end()
            self._done.set()

    def send_part(self, frame: bytes) -> None:
        if not self._done.is_set():
            self.exchange.chunk(frame, only=len(frame) // 2)

    def keep_alive(self) -> None:
        if not self._done.is_set():
            self.exchange.chunk(b" ")

    def end(self) -> None:
        self.send(self._nothing)

    async def serve(self) -> list[bytes]:
        done = asyncio.create_task(self._done.wait())
        gone = asyncio.create_task(self.exchange.gone())
        try:
            await asyncio.wait(
                {done, gone}, timeout=self._timeout, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            done.cancel()
            gone.cancel()
            await asyncio.wait({done, gone})
        if gone.cancelled():
            self.end()
        else:
            self.exchange.keep = False
        return []
