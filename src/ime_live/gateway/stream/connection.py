"""Connection: one stream on a transport, whatever is spoken on it.

The stream is opened, paused and resumed with its transport, and ended. What is said before and
after, and in what messages are wrapped, is for those below: `StreamProtocol` (WebSocket) and
`EventStream` (server-sent events). Updates are written to the socket by the hub as ready bytes and
never pass through here.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, MutableSet
from functools import partial
from typing import Any, Final

import structlog

from ime_live.errors import CloseCode, RefusedError
from ime_live.gateway.auth.authenticator import Identity
from ime_live.gateway.hub import frames as wire
from ime_live.gateway.query.stream_query import By, StreamRequest, read_request, unknown_parameters
from ime_live.gateway.stream.context import GatewayContext
from ime_live.gateway.stream.lingering import CLOSE_TIMEOUT, LingeringClose
from ime_live.gateway.stream.request_head import RequestHead
from ime_live.gateway.stream.subscription import Subscription

log = structlog.get_logger()

ABNORMAL: Final = 1006

# Tells the processes of one machine apart in the logs, and the connections of one process.
_PROCESS: Final = secrets.token_hex(2)
_numbers = itertools.count(1)


class Connection(asyncio.Protocol, ABC):
    """See the module's text; also the `Outlet` of its client, and the heartbeat's `Pulse`."""

    __slots__ = (
        "_about",
        "_closer",
        "_connections",
        "_context",
        "_eof",
        "_opened",
        "_opening",
        "_outcome",
        "_paused",
        "_subscription",
        "_transport",
        "write",
    )

    def __init__(self, context: GatewayContext, connections: MutableSet[Any]) -> None:
        """Make a stream without a transport.

        Args:
            context: what it needs of its process.
            connections: all connections of the process, which its server ends when it stops.
        """
        self._context = context
        self._connections = connections
        self._transport: asyncio.Transport
        self.write: Callable[[bytes], int]
        """Hand whole frames to the kernel; for the hub, while it has not paused us."""
        self._about: dict[str, object] = {}
        """What every log line of this connection says."""
        self._subscription = Subscription(context)
        self._opening: asyncio.Task[None] | None = None
        self._closer: asyncio.TimerHandle | None = None
        self._outcome: tuple[int, str] | None = None
        """Close code and reason, once one side has ended the stream."""
        self._paused = False
        self._eof = False
        """Whether the client has closed its half."""
        self._opened = 0.0

    # What is different on a WebSocket and elsewhere

    @abstractmethod
    def open(self, transport: asyncio.Transport, head: RequestHead, rest: bytes) -> None:
        """Take over ``transport``, on which a request has come.

        Args:
            transport: has this protocol.
            head: of the request.
            rest: what has come behind it.
        """

    @abstractmethod
    def _accept(self) -> None:
        """Say that the stream begins."""

    @abstractmethod
    def _refuse(self, refusal: RefusedError) -> None:
        """Say that it does not, and why, and close."""

    @abstractmethod
    def _say_goodbye(self, refusal: RefusedError) -> None:
        """Say why it ends, and close."""

    @abstractmethod
    def ping(self) -> None:
        """See whether the client is there."""

    @property
    @abstractmethod
    def _wrapping(self) -> wire.Format:
        """In what messages are wrapped."""

    # The opening

    def _take(self, transport: asyncio.Transport) -> None:
        """Take over ``transport``, on which a request has come."""
        self._transport = transport
        # From the first byte on, what the kernel does not take at once pauses us.
        transport.set_write_buffer_limits(high=0)
        # While we are not paused, the transport holds nothing, and the hub may write to the
        # socket past it, which spares 7 % of a delivery's CPU. The hub lets go of us in
        # `connection_lost` at the latest, and only after that is the socket closed, and its
        # number free for another connection.
        self.write = partial(os.write, transport.get_extra_info("socket").fileno())
        self._opened = self._context.monotonic()
        self._connections.add(self)
        self._about["connection"] = f"{_PROCESS}-{next(_numbers)}"
        self._about["peer"] = peer_of(transport)

    def _start(self, read: Callable[[], tuple[StreamRequest, str | None]]) -> None:
        """Open the stream.

        Args:
            read: reads what is asked for, and the token; raises RefusedError.
        """
        self._opening = self._context.loop.create_task(self._open(read))

    def _read_query(self, by: By, head: RequestHead) -> StreamRequest:
        """Read what is asked for.

        Raises:
            RefusedError: 1008.
        """
        # First, also of a query that cannot be read: the slip may be why.
        unknown = unknown_parameters(by, head.query)
        self._context.diagnostics.note_parameters(f"stream by {by.value}", unknown)
        self._context.diagnostics.refuse_parameters(unknown)
        return read_request(by, head.query, self._context.zone)

    async def _open(self, read: Callable[[], tuple[StreamRequest, str | None]]) -> None:
        identity = refusal = None
        try:
            request, token = read()
            identity = await self._subscription.open(request, token, self._about.update)
        except RefusedError as error:
            refusal = error
        except Exception as error:  # noqa: BLE001 - it is told, and one client's failure is its own
            event = "opening failed"
            self._context.limited.error(
                event, key=(event, type(error).__name__), exc_info=error, **self._about
            )
            refusal = RefusedError("internal error", code=CloseCode.INTERNAL_ERROR)
        self._opening = None
        self._context.metrics.opened()
        if identity is None or refusal is not None:
            self._refuse(refusal or RefusedError("internal error"))
            return
        # Not before: when the client has this, it misses nothing of what is published.
        self._accept()
        self._begin(identity)
        if self._eof:
            # Its client has left meanwhile.
            self._transport.close()

    def _begin(self, identity: Identity) -> None:
        context = self._context
        client = self._subscription.begin(self, self._wrapping)
        now = context.monotonic()
        expires = None if identity.expires is None else now + identity.expires - context.wall()
        context.heartbeat.add(self, now, expires)
        if self._paused:
            context.hub.pause(client)
            context.heartbeat.pause(self, now)
        self._subscription.send_first()
        log.info("stream opened", **self._about)

    def keep(self, rest: bytes) -> None:
        """Send what the kernel did not take, when it does."""
        self._transport.write(rest)

    # The transport

    def eof_received(self) -> bool:
        """The client has closed its half, which is how it leaves."""
        self._eof = True
        return False

    def pause_writing(self) -> None:
        """The transport takes no more for now."""
        self._paused = True
        if self._subscription.client is not None:
            self._context.hub.pause(self._subscription.client)
            self._context.heartbeat.pause(self, self._context.monotonic())

    def resume_writing(self) -> None:
        """It does again."""
        self._paused = False
        if self._subscription.client is not None:
            self._context.heartbeat.resume(self)
            self._context.hub.resume(self._subscription.client)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self._outcome is None and self._subscription.client is not None:
            if exc is not None:
                self._about["error"] = str(exc) or repr(exc)
            self._ended(ABNORMAL, "connection lost")
        self._leave()
        if self._closer is not None:
            self._closer.cancel()
            self._closer = None
        self._connections.discard(self)

    # The end

    def end(self, refusal: RefusedError) -> None:
        """Close the connection for this reason."""
        if self._outcome is None:
            self._ended(int(refusal.code), refusal.kind)
            self._say_goodbye(refusal)

    def shutdown(self) -> None:
        """The process stops: close soon, each client at another moment, so that they do not all
        come back at once."""
        if self._opening is not None:
            self._transport.abort()
            return
        refusal = RefusedError("going away", code=CloseCode.GOING_AWAY)
        spread = self._context.settings.shutdown_spread
        self._context.loop.call_later(random.uniform(0, spread), self.end, refusal)  # noqa: S311

    def _ended(self, code: int, reason: str) -> None:
        self._outcome = (code, reason)
        self._leave()
        if not self._transport.is_closing():
            self._closer = self._context.loop.call_later(CLOSE_TIMEOUT, self._transport.abort)
        self._context.metrics.closed(code, reason)
        log.info(
            "stream closed",
            **self._about,
            code=code,
            reason=reason,
            seconds=round(self._context.monotonic() - self._opened, 3),
        )

    def _leave(self) -> None:
        self._context.heartbeat.remove(self)
        self._subscription.close()

    def _linger(self, *, quiet: float = 0.0) -> None:
        """Write nothing more, and throw away what the client sends; see `LingeringClose`."""
        transport = self._transport
        if transport.is_closing() or transport.get_protocol() is not self:
            return
        if self._eof:
            transport.close()
            return
        self._connections.discard(self)
        closer, self._closer = self._closer, None
        LingeringClose(transport, self._connections, self._context.loop, timer=closer, quiet=quiet)


def peer_of(transport: asyncio.Transport) -> str:
    """The address of a transport's other end, for the log."""
    peer = transport.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer or "-")
