"""Transports: the three ways by which the SignalR hub sends its frames.

They yield raw frames, including keep-alives. Every fault of the network is a `FeedError` in plain
words.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, Protocol, cast

import httpx
from msgspec import Struct
from websockets.asyncio.client import ClientConnection, connect

from ime_live.clock import Clock
from ime_live.errors import FeedError
from ime_live.feeds.ime.access import Access
from ime_live.feeds.ime.events import MAX_EVENT, EventParser
from ime_live.feeds.ime.pages import describe
from ime_live.feeds.ime.responses import check_response, network_errors, read_body
from ime_live.feeds.ime.signalr import TransportName

CLOSE_TIMEOUT: Final = 1.0
"""Timeout in seconds for closing a connection properly; then it is aborted."""

_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}
_EVENTS: Final = {
    "Accept": "text/event-stream",
    "Accept-Encoding": "identity",  # a compressing server may hold back what it has
    "Cache-Control": "no-cache",
}


class TransportContext(Struct, frozen=True):
    """Client and options that all transports of a connection share.

    Attributes:
        client: HTTP client; its cookies are sent on WebSockets as well.
        access: how the SignalR hub is reached.
        silence: seconds without a byte after which a connection counts as lost.
    """

    client: httpx.AsyncClient
    access: Access
    silence: float

    @property
    def timeout(self) -> httpx.Timeout:
        """Timeouts of a request whose answer may take a while."""
        return httpx.Timeout(self.access.timeout, read=self.silence)


class Poll(Struct, frozen=True):
    """A poll to make: its URL, its body, and the seconds to wait before it."""

    url: str
    body: str
    delay: float


class Transport(Protocol):
    """One connection by one of the transports."""

    name: TransportName

    @property
    def pending(self) -> bool:
        """Whether a cancelled `open` has sent a request that the next frame will answer."""

    async def open(self, url: str, body: str = "") -> None:
        """Connect or reconnect; return when the SignalR hub has accepted the connection.

        Raises:
            UnexpectedResponseError: the SignalR hub refuses the connection.
            FeedError: the SignalR hub cannot be reached.
        """

    async def receive(self) -> bytes:
        """Return the next frame as received.

        Raises:
            FeedError: the connection is lost.
        """

    async def close(self) -> None:
        """Close the connection."""


class _NoRedirects(connect):
    def process_redirect(self, exc: Exception) -> Exception | str:
        """Follow no redirect: it may lead to another host."""
        return exc


class _Listening(ClientConnection):
    heard = 0.0
    """When bytes last arrived, on the event loop's clock."""

    def data_received(self, data: bytes) -> None:
        """Note that bytes have arrived, perhaps a part of a long frame."""
        self.heard = self.loop.time()
        super().data_received(data)


class WebSocket:
    """``webSockets``: one message per frame."""

    name = TransportName.WEB_SOCKETS
    pending = False

    def __init__(self, context: TransportContext) -> None:
        self._context = context
        self._socket: _Listening | None = None

    async def open(self, url: str, body: str = "") -> None:
        """See `Transport`; ``body`` is empty."""
        del body
        access = self._context.access
        # The headers of a request to the same place: cookies, and a token.
        request = self._context.client.build_request("GET", "http" + url.removeprefix("ws"))
        names = ("Cookie", "Authorization")
        headers = {name: request.headers[name] for name in names if name in request.headers}
        with network_errors():
            socket = await _NoRedirects(
                url,
                additional_headers=headers,
                user_agent_header=access.user_agent,
                proxy=access.proxy,
                open_timeout=None,  # the caller has one
                ping_interval=None,  # the SignalR hub sends keep-alives
                close_timeout=CLOSE_TIMEOUT,
                max_size=MAX_EVENT,
                create_connection=_Listening,
                ssl=access.tls if url.startswith("wss:") else None,
            )
        self._socket = cast(_Listening, socket)

    async def receive(self) -> bytes:
        """See `Transport`."""
        if self._socket is None:
            raise FeedError("the WebSocket is not open")
        loop = asyncio.get_running_loop()
        began = loop.time()
        with network_errors():
            while True:
                until = max(began, self._socket.heard) + self._context.silence
                try:
                    async with asyncio.timeout_at(until):
                        return await self._socket.recv(decode=False)
                except TimeoutError:
                    if loop.time() >= self._socket.heard + self._context.silence:
                        raise FeedError(f"no data for {self._context.silence:g} s") from None

    async def close(self) -> None:
        """See `Transport`."""
        socket, self._socket = self._socket, None
        if socket is not None:
            try:
                await socket.close()
            finally:
                socket.transport.abort()


class ServerSentEvents:
    """``serverSentEvents``: one event per frame, in an answer that does not end."""

    name = TransportName.SERVER_SENT_EVENTS
    pending = False

    def __init__(self, context: TransportContext) -> None:
        self._context = context
        self._response: httpx.Response | None = None
        self._pieces: AsyncGenerator[bytes, None] | None = None
        self._parser = EventParser()
        self._events: list[bytes] = []

    async def open(self, url: str, body: str = "") -> None:
        """See `Transport`; ``body`` is empty."""
        del body
        client = self._context.client
        request = client.build_request("GET", url, headers=_EVENTS, timeout=self._context.timeout)
        with network_errors():
            self._response = await client.send(request, stream=True)
            await check_response(self._response, "text/event-stream")
        self._pieces = cast(AsyncGenerator[bytes, None], self._response.aiter_bytes())
        first = await self.receive()
        if first != b"initialized":
            raise FeedError("the event stream does not begin with 'initialized'")

    async def receive(self) -> bytes:
        """See `Transport`."""
        if self._pieces is None:
            raise FeedError("the event stream is not open")
        while not self._events:
            try:
                with network_errors():
                    piece = await anext(self._pieces)
            except StopAsyncIteration:
                raise FeedError("the SignalR hub ended the event stream") from None
            self._events = self._parser.feed(piece)
        return self._events.pop(0)

    async def close(self) -> None:
        """See `Transport`."""
        pieces, self._pieces = self._pieces, None
        response, self._response = self._response, None
        try:
            if pieces is not None:
                await pieces.aclose()
        finally:
            if response is not None:
                await response.aclose()


class LongPolling:
    """``longPolling``: one answer per frame."""

    name = TransportName.LONG_POLLING

    def __init__(
        self, context: TransportContext, next_poll: Callable[[], Poll], clock: Clock
    ) -> None:
        self._context = context
        self._next_poll = next_poll
        self._clock = clock
        self._answer: asyncio.Task[bytes] | None = None

    @property
    def pending(self) -> bool:
        """Whether a request waits for its answer."""
        return self._answer is not None and not self._answer.done()

    async def open(self, url: str, body: str = "") -> None:
        """See `Transport`; ``body`` is the cursor to resume from."""
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answer = asyncio.create_task(self._post(url, body, accepted))
        waiting: set[asyncio.Future[Any]] = {self._answer, accepted}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if self._answer.done():
            self._answer.result()  # raises the error of the request

    async def receive(self) -> bytes:
        """See `Transport`."""
        if self._answer is None:
            poll = self._next_poll()
            if poll.delay:
                await self._clock.sleep(poll.delay)
            self._answer = asyncio.create_task(self._post(poll.url, poll.body, None))
        # Not awaited directly: cancelling this call must not end the poll.
        await asyncio.wait({self._answer})
        answer, self._answer = self._answer, None
        return answer.result()

    async def _post(self, url: str, body: str, accepted: asyncio.Future[None] | None) -> bytes:
        with network_errors():
            async with self._context.client.stream(
                "POST", url, content=body, headers=_FORM, timeout=self._context.timeout
            ) as response:
                await check_response(response, "json")
                if accepted is not None and not accepted.done():
                    accepted.set_result(None)
                frame = await read_body(response, MAX_EVENT)
        frame = frame.strip()  # keep-alives are blanks here
        if frame[:1] != b"{":
            raise FeedError(describe(frame, response.headers.get("Content-Type", "")))
        return frame

    async def close(self) -> None:
        """See `Transport`."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.cancel()
            await asyncio.wait({answer})
            if not answer.cancelled():
                answer.exception()  # its result is no longer needed
