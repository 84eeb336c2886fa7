"""Run one stream on a transport: open, pause, resume and end it.

`Connection` is the common base of `StreamProtocol` (WebSocket) and `EventStream` (server-sent
events), which write the response, the close and the format of messages. The hub writes updates
directly to the socket; they never pass through this module.
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
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.stream_query import StreamRequest, read_request, unknown_parameters
from ime_live.gateway.stream.context import GatewayContext
from ime_live.gateway.stream.lingering import CLOSE_TIMEOUT, LingeringClose
from ime_live.gateway.stream.request_head import RequestHead
from ime_live.gateway.stream.subscription import Subscription

log = structlog.get_logger()

ABNORMAL: Final = 1006

# Identifies a process in the logs of a machine, with the number of a connection in the process.
_PROCESS: Final = secrets.token_hex(2)
_numbers = itertools.count(1)


class Connection(asyncio.Protocol, ABC):
    """One client's stream; also the `Outlet` of the hub and the `Pulse` of the heartbeat."""

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
            context: the parts of the process that a stream uses.
            connections: all connections of the process, which its server ends when it stops.
        """
        self._context = context
        self._connections = connections
        self._transport: asyncio.Transport
        self.write: Callable[[bytes], int]
        """Hand whole frames to the kernel; the hub calls it while the client is not paused."""
        self._about: dict[str, object] = {}
        """Fields of every log line of this connection."""
        self._subscription = Subscription(context)
        self._opening: asyncio.Task[None] | None = None
        self._closer: asyncio.TimerHandle | None = None
        self._outcome: tuple[int, str] | None = None
        """Close code and reason, once one side has ended the stream."""
        self._paused = False
        self._eof = False
        """Whether the client has closed its half of the connection."""
        self._opened = 0.0

    # The differences between WebSocket and server-sent events

    @abstractmethod
    def open(self, transport: asyncio.Transport, head: RequestHead, rest: bytes) -> None:
        """Take over ``transport``, on which a request has arrived.

        Args:
            transport: its protocol is this object.
            head: head of the request.
            rest: bytes that have arrived after the request.
        """

    @abstractmethod
    def _accept(self) -> None:
        """Write the response that starts the stream."""

    @abstractmethod
    def _refuse(self, refusal: RefusedError) -> None:
        """Write a refusal with its reason, and close."""

    @abstractmethod
    def _say_goodbye(self, refusal: RefusedError) -> None:
        """Write why the stream ends, and close."""

    @abstractmethod
    def ping(self) -> None:
        """Check that the client is still there."""

    @property
    @abstractmethod
    def _wrapping(self) -> wire.Format:
        """Format of the messages."""

    # The opening

    def _take(self, transport: asyncio.Transport) -> None:
        """Take over ``transport``, on which a request has arrived."""
        self._transport = transport
        # From the first byte on, data that the kernel does not take at once pauses the client.
        transport.set_write_buffer_limits(high=0)
        # While the client is not paused, the transport holds nothing, and the hub may write to the
        # socket directly, which saves 7 % of a delivery's CPU. The client leaves the hub in
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
            read: returns the request and the token; raises RefusedError.
        """
        self._opening = self._context.loop.create_task(self._open(read))

    def _read_query(self, by: By, head: RequestHead) -> StreamRequest:
        """Read the query, and log or refuse unknown parameters.

        Raises:
            RefusedError: 1008; see `read_request`, or a parameter is unknown.
        """
        # First, even if the query cannot be read: a misspelt parameter may be the reason.
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
        except Exception as error:  # noqa: BLE001 - logged, and one client's failure is its own
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
        # Not earlier: a client that has this response misses nothing that is published.
        self._accept()
        self._begin(identity)
        if self._eof:
            # The client has left meanwhile.
            self._transport.close()

    def _begin(self, identity: Identity) -> None:
        context = self._context
        subscriber = self._subscription.begin(self, self._wrapping)
        now = context.monotonic()
        expires = None if identity.expires is None else now + identity.expires - context.wall()
        context.heartbeat.add(self, now, expires)
        if self._paused:
            context.hub.pause(subscriber)
            context.heartbeat.pause(self, now)
        self._subscription.send_first()
        log.info("stream opened", **self._about)

    def keep(self, rest: bytes) -> None:
        """Send the rest of a frame as soon as the kernel takes it."""
        self._transport.write(rest)

    # The transport

    def eof_received(self) -> bool:
        """The client has closed its half of the connection, which is how it leaves."""
        self._eof = True
        return False

    def pause_writing(self) -> None:
        """Pause the client in the hub: the transport takes no more data."""
        self._paused = True
        if self._subscription.subscriber is not None:
            self._context.hub.pause(self._subscription.subscriber)
            self._context.heartbeat.pause(self, self._context.monotonic())

    def resume_writing(self) -> None:
        """Resume the client in the hub: the transport takes data again."""
        self._paused = False
        if self._subscription.subscriber is not None:
            self._context.heartbeat.resume(self)
            self._context.hub.resume(self._subscription.subscriber)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the hub; the connection is gone, whichever side ended it."""
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self._outcome is None and self._subscription.subscriber is not None:
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
        """End the stream, and tell the client the code and the reason of ``refusal``."""
        if self._outcome is None:
            self._ended(int(refusal.code), refusal.kind)
            self._say_goodbye(refusal)

    def shutdown(self) -> None:
        """End the stream because the process stops, after a random delay.

        The delay keeps clients from all reconnecting at once.
        """
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
        """Write nothing more, and discard what the client sends; see `LingeringClose`."""
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
    """Return the address of a transport's other end, for the log."""
    peer = transport.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else str(peer or "-")
