"""Connection: one negotiated connection to the SignalR hub, from its token to its abort.

It makes the calls in the order of the protocol and yields frames. The caller decides when and how
to reconnect. It neither logs nor waits by itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import httpx

from ime_live.clock import Clock
from ime_live.errors import FeedError
from ime_live.feeds.ime.access import Access
from ime_live.feeds.ime.addresses import TIDS, Address, cursor_query
from ime_live.feeds.ime.frame_source import OnDate
from ime_live.feeds.ime.responses import (
    get,
    network_errors,
    with_prefix,
)
from ime_live.feeds.ime.signalr import (
    Envelope,
    Negotiation,
    TransportName,
    read_envelope,
    read_start,
)
from ime_live.feeds.ime.transports import (
    LongPolling,
    Poll,
    ServerSentEvents,
    Transport,
    TransportContext,
    WebSocket,
)

GRACE: Final = 1.25
"""Factor on the SignalR hub's own limit of silence, because a keep-alive may be under way."""

IDLE_POLLS: Final = 8
"""Polls in a row that are answered at once with nothing, before the connection counts as lost: a
hub that has aborted the connection repeats this forever."""

_IDLE_WAIT: Final = 0.1  # seconds more before each poll that follows such a one
_AT_ONCE: Final = 2.0  # seconds, the wait before it included

ABORT_TIMEOUT: Final = 2.0
"""Timeout in seconds of the call to abort, whose answer does not matter."""


class ConnectionContext:
    """The dependencies of a connection: access, clocks and a source of randomness."""

    def __init__(
        self,
        address: Address,
        access: Access,
        client: httpx.AsyncClient,
        *,
        clock: Clock,
        random: Callable[[], float],
        on_date: OnDate,
    ) -> None:
        """Create a context.

        Args:
            address: address of the SignalR hub.
            access: how to reach it.
            client: a client of `access`, which keeps the cookies.
            clock: the machine's clock.
            random: returns a number from 0 to below 1.
            on_date: called with the ``Date`` of the answers to negotiate.
        """
        self.address = address
        self.access = access
        self.client = client
        self.clock = clock
        self.random = random
        self.on_date = on_date
        self.greeted_at = float("-inf")
        """When the front page was last loaded for cookies."""

    @property
    def now(self) -> int:
        """Milliseconds since the Unix epoch."""
        return int(self.clock.time() * 1000)

    @property
    def tid(self) -> int:
        """A random number for a call to connect; see `TIDS`."""
        return int(self.random() * TIDS)


class SignalRConnection:
    """One negotiated connection to the SignalR hub.

    Attributes:
        negotiation: the SignalR hub's answer to negotiate.
        host: host of the hub.
        opened: whether the SignalR hub has opened it by any transport, so that it must be aborted.
    """

    def __init__(
        self, context: ConnectionContext, address: Address, negotiation: Negotiation
    ) -> None:
        self.negotiation = negotiation
        self.host = address.host
        self.opened = False
        self._context = context
        self._address = address
        # Polls have keep-alives as well (blanks before their answer). A SignalR hub that sends none
        # at all still answers a poll in time.
        limit = negotiation.keep_alive_timeout or negotiation.connection_timeout
        self._transport_context = TransportContext(context.client, context.access, limit * GRACE)
        self._transport: Transport | None = None
        self._name = TransportName.WEB_SOCKETS
        self._cursor: str | None = None
        self._groups: str | None = None
        self._delay = negotiation.long_poll_delay
        self._idle = 0
        """Number of polls in a row that were answered at once and empty."""
        self._early: deque[bytes] = deque()
        self._end_reason: str | None = None
        """Why the SignalR hub has ended this transport; None if it has not."""
        self._ended = False

    @property
    def resumable(self) -> bool:
        """Whether the connection can be resumed."""
        return self._cursor is not None and not self._ended

    async def begin(self, name: TransportName) -> None:
        """Connect by a transport, and start.

        Raises:
            FeedError: the transport does not work; the text says why. If `opened` is False,
                another transport can be tried after `close`.
        """
        transport = self._make(name)
        patience = self.negotiation.transport_connect_timeout
        url = self._address.connect(name, self.negotiation.connection_token, self._tid)
        try:
            async with asyncio.timeout(patience):
                await transport.open(url)
                # A poll may have been answered by something else so far.
                self.opened = name is not TransportName.LONG_POLLING
                while True:
                    frame = await transport.receive()
                    envelope = self._note(frame)
                    self.opened = True
                    if envelope.messages:
                        self._early.append(frame)
                    if envelope.initialised:
                        break
                    if self._end_reason:
                        raise FeedError(self._end_reason)
        except TimeoutError:
            state = "opened, but silent" if self.opened else "no answer"
            raise FeedError(f"{state} for {patience:g} s") from None
        token = self.negotiation.connection_token
        url = self._address.start(name, token, self._context.now)
        try:
            body, headers = await get(self._context.client, url, self._context.access.timeout)
            read_start(body, headers.get("Content-Type", ""))
        except FeedError as error:
            raise with_prefix("start", error) from error

    async def resume(self) -> None:
        """Resume the connection by the same transport.

        Raises:
            UnexpectedResponseError: the SignalR hub does not resume the connection.
            FeedError: the SignalR hub cannot be reached.
        """
        await self.close()
        transport = self._make(self._name)
        at = cursor_query(self._cursor or "", self._groups)
        in_body = self._name is TransportName.LONG_POLLING
        url = self._address.reconnect(
            self._name, self.negotiation.connection_token, self._tid, None if in_body else at
        )
        patience = self.negotiation.transport_connect_timeout
        try:
            async with asyncio.timeout(patience):
                await transport.open(url, at if in_body else "")
        except TimeoutError:
            # A SignalR hub may hold a poll until there are messages; that is not a refusal.
            if not transport.pending:
                raise FeedError(f"no answer for {patience:g} s") from None

    async def receive(self) -> bytes:
        """Wait for the next frame with messages, and return it.

        Raises:
            FeedError: the connection is lost, or the frame cannot be read; the text says how.
        """
        if self._early:
            return self._early.popleft()
        while True:
            if self._end_reason:
                raise FeedError(self._end_reason)
            if self._transport is None:
                raise FeedError("the connection is closed")
            began = asyncio.get_running_loop().time()
            frame = await self._transport.receive()
            if self._note(frame).messages:
                self._idle = 0
                return frame
            if self._name is TransportName.LONG_POLLING:
                at_once = asyncio.get_running_loop().time() - began < _AT_ONCE
                self._idle = self._idle + 1 if at_once else 0
                if self._idle > IDLE_POLLS:
                    raise FeedError("polls are answered at once, without messages")

    async def close(self) -> None:
        """Close the transport; the SignalR hub keeps the connection for a while."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    async def end(self) -> None:
        """Close the transport, and abort the connection at the SignalR hub if it can be reached."""
        try:
            await self.close()
        finally:
            if self.opened and not self._ended:
                self._ended = True
                await self._abort()

    async def _abort(self) -> None:
        token = self.negotiation.connection_token
        url = self._address.abort(self._name, token)
        with suppress(FeedError), network_errors():
            # Not `asyncio.timeout`: the task may have been cancelled, see `Leadership`.
            await asyncio.wait_for(self._context.client.post(url), ABORT_TIMEOUT)

    @property
    def _tid(self) -> int:
        return self._context.tid

    def _make(self, name: TransportName) -> Transport:
        self._name = name
        self._end_reason = None
        match name:
            case TransportName.WEB_SOCKETS:
                self._transport = WebSocket(self._transport_context)
            case TransportName.SERVER_SENT_EVENTS:
                self._transport = ServerSentEvents(self._transport_context)
            case TransportName.LONG_POLLING:
                self._transport = LongPolling(
                    self._transport_context, self._next_poll, self._context.clock
                )
        return self._transport

    def _next_poll(self) -> Poll:
        token = self.negotiation.connection_token
        url = self._address.poll(self._name, token, self._tid)
        delay = max(self._delay, self._idle * _IDLE_WAIT)
        return Poll(url, cursor_query(self._cursor or "", self._groups), delay)

    def _note(self, frame: bytes) -> Envelope:
        """Read a frame, and keep its values for the next calls."""
        envelope = read_envelope(frame)
        if envelope.cursor is not None:
            self._cursor = envelope.cursor
        if envelope.groups is not None:
            self._groups = envelope.groups
        self._delay = self.negotiation.long_poll_delay if envelope.delay is None else envelope.delay
        if envelope.ended:
            self._ended = True
            self._end_reason = "the SignalR hub ended the connection"
        elif envelope.moved:
            self._end_reason = "the SignalR hub asks to connect again"
        return envelope
