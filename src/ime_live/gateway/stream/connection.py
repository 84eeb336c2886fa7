"""Run one stream on a transport: open, pause, resume and end it.

The bytes around the messages are made and read by the connection's `Codec`, for WebSocket or for
server-sent events. The hub writes updates directly to the socket; they never pass through this
module.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import MutableSet
from typing import Any, Final

from ime_live.errors import AuthenticationError, CloseCode, LimitError, RefusedError
from ime_live.gateway.auth.identity import Identity
from ime_live.gateway.http.lingering import CLOSE_TIMEOUT, LingeringClose
from ime_live.gateway.http.peer import acknowledged_bytes, peer_of
from ime_live.gateway.http.request_head import RequestHead
from ime_live.gateway.limits.stream_limits import Permit
from ime_live.gateway.query.stream_query import (
    TOO_MANY_CONTRACTS,
    StreamRequest,
    check_length,
    parse_query,
    read_request,
)
from ime_live.gateway.stream.codec import ABNORMAL, Codec
from ime_live.gateway.stream.commands import CommandQueue
from ime_live.gateway.stream.context import GatewayContext
from ime_live.gateway.stream.subscription import Subscription

# Identifies a process in the logs of a machine, with the number of a connection in the process.
_PROCESS: Final = secrets.token_hex(2)
_numbers = itertools.count(1)


class Connection(asyncio.Protocol):
    """One client's stream; the hub's `TransportWriter` and the heartbeat's `Peer`."""

    __slots__ = (
        "_about",
        "_closer",
        "_codec",
        "_commands",
        "_connections",
        "_context",
        "_eof",
        "_opened",
        "_opening",
        "_outcome",
        "_paused",
        "_permit",
        "_subscription",
        "_transport",
        "_used",
        "descriptor",
    )

    def __init__(
        self,
        context: GatewayContext,
        connections: MutableSet[Any],
        codec: Codec,
        permit: Permit,
    ) -> None:
        """Make a stream without a transport.

        Args:
            context: the parts of the process that a stream uses.
            connections: all connections of the process, which its server ends when it stops.
            codec: makes and reads the bytes around the messages.
            permit: what it has taken of the limits; it gives that back.
        """
        self._permit = permit
        self._codec = codec
        self._context = context
        self._connections = connections
        self._transport: asyncio.Transport
        self.descriptor = -1
        """Of its socket; the hub sends to it while the client is not paused."""
        self._about: dict[str, object] = {}
        """Fields of every log line of this connection."""
        self._subscription = Subscription(context)
        self._commands: CommandQueue | None = None
        """Made when the client sends a message: most never do."""
        self._opening: asyncio.Task[None] | None = None
        self._closer: asyncio.TimerHandle | None = None
        self._outcome: tuple[int, str] | None = None
        """Close code and reason, once one side has ended the stream."""
        self._paused = False
        self._eof = False
        """Whether the client has closed its half of the connection."""
        self._opened = 0.0
        self._used = (0, 0)
        """Messages and bytes that were counted before."""

    # The opening

    def open(self, transport: asyncio.Transport, head: RequestHead, rest: bytes) -> None:
        """Take over ``transport``, on which a request has arrived.

        Args:
            transport: its protocol is this object.
            head: head of the request.
            rest: bytes that have arrived after the request.
        """
        self._transport = transport
        # From the first byte on, data that the kernel does not take at once pauses the client.
        transport.set_write_buffer_limits(high=0)
        # While the client is not paused, the transport holds nothing, and the hub may send to the
        # socket directly. The client leaves the hub in `connection_lost` at the latest, and only
        # after that is the socket closed, and its number free for another connection.
        self.descriptor = transport.get_extra_info("socket").fileno()
        self._opened = self._context.clock.monotonic()
        self._connections.add(self)
        self._about["connection"] = f"{_PROCESS}-{next(_numbers)}"
        self._about["peer"] = peer_of(transport)
        if self._permit.address is not None:
            self._about["client"] = self._permit.address
        self._about |= self._codec.log_fields
        rejection = self._codec.negotiate(head)
        if rejection:
            transport.write(rejection)
            self.linger()
            return
        self._opening = self._context.loop.create_task(self._open(head))
        if rest:
            self.data_received(rest)

    def _read(self, head: RequestHead) -> tuple[StreamRequest, str | None]:
        """Read the request and the token, and log or refuse unknown parameters.

        Raises:
            RefusedError: 1008; see `read_request`, or a parameter is unknown.
        """
        by, context = self._codec.by, self._context
        check_length(head.query, context.settings.max_contracts)
        query = parse_query(by, head.query)
        # First, even if the query cannot be read: a misspelt parameter may be the reason.
        unknown = query.unknown
        context.diagnostics.note_parameters(f"stream by {by.value}", unknown)
        context.diagnostics.refuse_parameters(unknown)
        return self._codec.complete(read_request(by, query, context.zone), head)

    async def _open(self, head: RequestHead) -> None:
        identity = refusal = None
        try:
            request, token = self._read(head)
            identity = await self._subscription.open(
                request, token, self._permit, self._about.update
            )
            # It may have been revoked while its contracts were opened, or the drain gone on.
            self._context.authenticator.check(identity)
            self._context.drain.check()
        except RefusedError as error:
            refusal = error
        except Exception as error:  # noqa: BLE001 - logged, and one client's failure is its own
            event = "opening failed"
            self._context.limited.error(
                event, key=(event, type(error).__name__), exc_info=error, **self._about
            )
            refusal = RefusedError("internal error", code=CloseCode.INTERNAL_ERROR)
        self._opening = None
        if isinstance(refusal, LimitError):
            self._turn_away(refusal)
            return
        self._context.metrics.opened()
        if identity is None or refusal is not None:
            self._refuse(refusal or RefusedError("internal error"))
            return
        # Not earlier: a client that has this response misses nothing that is published.
        self._transport.write(self._codec.accept())
        self._codec.started(self)
        self._begin(identity)
        if self._eof:
            # The client has left meanwhile.
            self._transport.close()

    def _turn_away(self, refusal: LimitError) -> None:
        """Refuse the stream before it begins: a limit is reached, or the process drains."""
        self._context.metrics.refused(refusal.kind)
        event = "stream refused"
        self._context.limited.info(
            event, key=(event, refusal.kind), reason=refusal.reason, **self._about
        )
        self._transport.write(self._codec.refuse(refusal))
        self.linger()

    def _refuse(self, refusal: RefusedError) -> None:
        if isinstance(refusal, AuthenticationError):
            self._context.metrics.refused("authentication")
        elif refusal.kind == TOO_MANY_CONTRACTS:
            self._context.metrics.refused("contracts")
        self._ended(int(refusal.code), refusal.kind)
        self._transport.write(self._codec.refuse(refusal))
        self._codec.started(self)
        if self._codec.one_way:
            self.linger()

    def _begin(self, identity: Identity) -> None:
        context = self._context
        subscriber = self._subscription.begin(self, self._codec.format)
        context.open_streams.add(self, identity)
        now = context.clock.monotonic()
        expires = identity.expires
        if expires is not None:
            expires += now - context.clock.time()
        context.heartbeat.add(self, now, expires)
        if self._paused:
            context.hub.pause(subscriber)
            context.heartbeat.pause(self, now)
        self._subscription.send_first()
        context.log.info("stream opened", **self._about)

    def keep(self, rest: bytes) -> None:
        """Send the rest of a frame as soon as the kernel takes it."""
        self._transport.write(rest)

    # The transport

    def data_received(self, data: bytes) -> None:
        """Pass bytes from the client to the codec."""
        self._codec.receive(data, self)

    def eof_received(self) -> bool:
        """The client has closed its half of the connection, which is how it leaves.

        A client that only listens may close it right after its request. It gets a response.
        """
        self._eof = True
        return self._codec.one_way and self._opening is not None

    def pause_writing(self) -> None:
        """Pause the client in the hub: the transport takes no more data."""
        self._paused = True
        self._permit.wait(self._transport.get_write_buffer_size())
        if self._subscription.subscriber is not None:
            self._context.hub.pause(self._subscription.subscriber)
            self._context.heartbeat.pause(self, self._context.clock.monotonic())
        if self._commands is not None:
            self._commands.pause()

    def resume_writing(self) -> None:
        """Resume the client in the hub: the transport takes data again."""
        self._paused = False
        self._permit.wait(0)
        if self._subscription.subscriber is not None:
            self._context.heartbeat.resume(self)
            self._context.hub.resume(self._subscription.subscriber)
        if self._commands is not None and not self._paused:
            self._commands.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the hub; the connection is gone, whichever side ended it."""
        self._codec.close()
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self._outcome is None and self._subscription.subscriber is not None:
            if exc is not None:
                self._about["error"] = str(exc) or repr(exc)
            if exc is None and self._codec.one_way:
                self._ended(CloseCode.NORMAL, "client left")
            else:
                self._ended(ABNORMAL, "connection lost")
        self._leave()
        if self._closer is not None:
            self._closer.cancel()
            self._closer = None
        self._connections.discard(self)

    # Events that the codec reads

    def send(self, data: bytes) -> None:
        """Send bytes after all that was sent before."""
        self._transport.write(data)

    def pong_received(self) -> None:
        """Note that the client is still there."""
        self._context.heartbeat.answered(self)

    def message_received(self, message: bytes, *, binary: bool) -> None:
        """Queue a message of the client; see `CommandQueue.receive`."""
        if self._subscription.subscriber is None:
            return
        if self._commands is None:
            self._commands = CommandQueue(
                self._subscription,
                writable=not self._paused,
                turn=self._context.work.turn,
                limited=self._context.limited,
            )
        self._commands.receive(message, binary=binary)

    def pause_reading(self) -> None:
        """Leave received data in the kernel."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read received data."""
        self._transport.resume_reading()

    def read_slowly(self) -> None:
        """Pause reading for a moment, because received data is discarded."""
        self._context.slow_reader.pause(self._transport)

    # The end

    def ping(self) -> None:
        """Check that the client is still there."""
        if self._codec.one_way:
            # The TCP user timeout ends a connection on which this is not acknowledged.
            self._context.heartbeat.answered(self)
        self._transport.write(self._codec.ping())

    def end(self, refusal: RefusedError) -> None:
        """End the stream, and tell the client the code and the reason of ``refusal``."""
        if self._outcome is None:
            self._ended(int(refusal.code), refusal.kind)
            if goodbye := self._codec.goodbye(refusal):
                self._transport.write(goodbye)
            if self._codec.one_way:
                self.linger()

    def drop(self) -> None:
        """Close the connection at once, and drop the client's unsent data."""
        self._transport.abort()

    def take_usage(self) -> tuple[int, int | None]:
        """Return the updates and bytes that the client was sent since the last call."""
        subscriber = self._subscription.subscriber
        messages = 0 if subscriber is None else subscriber.messages
        size = acknowledged_bytes(self.descriptor)
        before, self._used = self._used, (messages, size or 0)
        return messages - before[0], None if size is None else size - before[1]

    def closed(self, code: int, reason: str) -> None:
        """Note that the client or the codec has ended the stream, unless it had ended before."""
        if self._outcome is None:
            self._ended(code, reason)

    def shutdown(self) -> None:
        """End the stream because the process stops; `Drain` has ended it before, if it had time."""
        if self._opening is not None:
            self._transport.abort()
        else:
            self.end(RefusedError("going away", code=CloseCode.GOING_AWAY))

    def _ended(self, code: int, reason: str) -> None:
        self._outcome = (code, reason)
        self._leave()
        if not self._transport.is_closing():
            self._closer = self._context.loop.call_later(CLOSE_TIMEOUT, self._transport.abort)
        self._context.metrics.closed(code, reason)
        self._context.log.info(
            "stream closed",
            **self._about,
            code=code,
            reason=reason,
            seconds=round(self._context.clock.monotonic() - self._opened, 3),
        )

    def _leave(self) -> None:
        if self._commands is not None:
            self._commands.close()
        self._context.heartbeat.remove(self)
        self._context.open_streams.remove(self)
        self._subscription.close()
        self._permit.free()

    def linger(self, *, quiet: float = 0.0) -> None:
        """Send nothing more, and discard what the client sends; see `LingeringClose`."""
        self._codec.close()
        self._permit.free()
        transport = self._transport
        if transport.is_closing() or transport.get_protocol() is not self:
            return
        if self._eof:
            transport.close()
            return
        self._connections.discard(self)
        closer, self._closer = self._closer, None
        LingeringClose(
            transport,
            self._connections,
            self._context.loop,
            self._context.slow_reader,
            timer=closer,
            quiet=quiet,
        )
