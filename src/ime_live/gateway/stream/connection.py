"""Run one stream on a transport: open, pause, resume and end it.

The connection's `Codec` makes and reads the bytes around the messages, for WebSocket or for
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

# The id of a connection in the log is this id of its process, and its number in the process.
_PROCESS: Final = secrets.token_hex(2)
_numbers = itertools.count(1)


class Connection(asyncio.Protocol):
    """One client's stream; the hub's `TransportWriter` and the heartbeat's `Peer`."""

    __slots__ = (
        "_closer",
        "_codec",
        "_commands",
        "_connections",
        "_context",
        "_eof",
        "_log_fields",
        "_opened_at",
        "_opening",
        "_outcome",
        "_paused",
        "_permit",
        "_reported_usage",
        "_subscription",
        "_transport",
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
            connections: all connections of the process, which the server ends when it stops.
            codec: makes and reads the bytes around the messages.
            permit: the stream's permit, which is freed at its end.
        """
        self._permit = permit
        self._codec = codec
        self._context = context
        self._connections = connections
        self._transport: asyncio.Transport
        self.descriptor = -1
        """File descriptor of the socket; the hub writes to it while the client is not paused."""
        self._log_fields: dict[str, object] = {}
        """Fields of each log line of this connection."""
        self._subscription = Subscription(context)
        self._commands: CommandQueue | None = None
        """Made for the first message of the client: most clients send none."""
        self._opening: asyncio.Task[None] | None = None
        self._closer: asyncio.TimerHandle | None = None
        self._outcome: tuple[int, str] | None = None
        """Close code and reason; None until one side has ended the stream."""
        self._paused = False
        self._eof = False
        """Whether the client has closed its half of the connection."""
        self._opened_at = 0.0
        self._reported_usage = (0, 0)
        """Messages and bytes that `take_usage` has returned so far."""

    # Opening

    def open(self, transport: asyncio.Transport, head: RequestHead, rest: bytes) -> None:
        """Begin to answer a request for a stream.

        Args:
            transport: transport of the request; this object must be its protocol.
            head: head of the request.
            rest: bytes that have arrived after the request.
        """
        self._transport = transport
        # A write that the kernel does not accept in full pauses the client at once.
        transport.set_write_buffer_limits(high=0)
        # While the client is not paused, the transport's buffer is empty, so the hub may write to
        # the socket directly. The client leaves the hub in `connection_lost` at the latest. The
        # socket is closed after that, and only then can another connection get its descriptor.
        self.descriptor = transport.get_extra_info("socket").fileno()
        self._opened_at = self._context.clock.monotonic()
        self._connections.add(self)
        self._log_fields["connection"] = f"{_PROCESS}-{next(_numbers)}"
        self._log_fields["peer"] = peer_of(transport)
        if self._permit.address is not None:
            self._log_fields["client"] = self._permit.address
        self._log_fields |= self._codec.log_fields
        rejection = self._codec.negotiate(head)
        if rejection:
            transport.write(rejection)
            self.linger()
            return
        self._opening = self._context.loop.create_task(self._open(head))
        if rest:
            self.data_received(rest)

    def _read(self, head: RequestHead) -> tuple[StreamRequest, str | None]:
        """Return the request and the token; log or refuse unknown parameters.

        Raises:
            RefusedError: 1008; a parameter is unknown, or as `read_request`.
        """
        by, context = self._codec.by, self._context
        check_length(head.query, context.settings.max_contracts)
        query = parse_query(by, head.query)
        # Before the values are read: if one is missing, a misspelt parameter may be the reason.
        unknown = query.unknown
        context.diagnostics.note_parameters(f"stream by {by.value}", unknown)
        context.diagnostics.refuse_parameters(unknown)
        return self._codec.complete(read_request(by, query, context.zone), head)

    async def _open(self, head: RequestHead) -> None:
        identity = refusal = None
        try:
            request, token = self._read(head)
            identity = await self._subscription.open(
                request, token, self._permit, self._log_fields.update
            )
            # Meanwhile the token may have been revoked, or the process may have begun to drain.
            self._context.authenticator.check(identity)
            self._context.drain.check()
        except RefusedError as error:
            refusal = error
        except Exception as error:  # noqa: BLE001 - logged; it must not affect other clients
            event = "stream cannot be opened"
            self._context.limited.error(
                event, key=(event, type(error).__name__), exc_info=error, **self._log_fields
            )
            refusal = RefusedError("internal error", code=CloseCode.INTERNAL_ERROR)
        self._opening = None
        if isinstance(refusal, LimitError):
            self._refuse_at_limit(refusal)
            return
        self._context.metrics.opened()
        if identity is None or refusal is not None:
            self._refuse(refusal or RefusedError("internal error"))
            return
        # Only now, because a client that has this response must get every later update.
        self._transport.write(self._codec.accept())
        self._codec.response_sent(self)
        self._begin(identity)
        if self._eof:
            # The client left while the stream was opened.
            self._transport.close()

    def _refuse_at_limit(self, refusal: LimitError) -> None:
        """Refuse the stream with an HTTP response: a limit is reached, or the process drains."""
        self._context.metrics.refused(refusal.kind)
        event = "stream refused"
        self._context.limited.info(
            event, key=(event, refusal.kind), reason=refusal.reason, **self._log_fields
        )
        self._transport.write(self._codec.refuse(refusal))
        self.linger()

    def _refuse(self, refusal: RefusedError) -> None:
        if isinstance(refusal, AuthenticationError):
            self._context.metrics.refused("authentication")
        elif refusal.kind == TOO_MANY_CONTRACTS:
            self._context.metrics.refused("contracts")
        self._note_end(int(refusal.code), refusal.kind)
        self._transport.write(self._codec.refuse(refusal))
        self._codec.response_sent(self)
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
        context.log.info("stream opened", **self._log_fields)

    def keep(self, rest: bytes) -> None:
        """Send the rest of a frame as soon as the socket is writable."""
        self._transport.write(rest)

    # The transport

    def data_received(self, data: bytes) -> None:
        """Pass bytes from the client to the codec."""
        self._codec.receive(data, self)

    def eof_received(self) -> bool:
        """Close the connection, because the client has closed its half.

        A client of events may close its half right after its request, and still gets a response.

        Returns:
            Whether to keep the connection open.
        """
        self._eof = True
        return self._codec.one_way and self._opening is not None

    def pause_writing(self) -> None:
        """Pause the client in the hub, because the socket is not writable."""
        self._paused = True
        self._permit.wait(self._transport.get_write_buffer_size())
        if self._subscription.subscriber is not None:
            self._context.hub.pause(self._subscription.subscriber)
            self._context.heartbeat.pause(self, self._context.clock.monotonic())
        if self._commands is not None:
            self._commands.pause()

    def resume_writing(self) -> None:
        """Resume the client in the hub, because the socket is writable again."""
        self._paused = False
        self._permit.wait(0)
        if self._subscription.subscriber is not None:
            self._context.heartbeat.resume(self)
            self._context.hub.resume(self._subscription.subscriber)
        if self._commands is not None and not self._paused:
            self._commands.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the hub, because the connection has ended."""
        self._codec.close()
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self._outcome is None and self._subscription.subscriber is not None:
            if exc is not None:
                self._log_fields["error"] = str(exc) or repr(exc)
            if exc is None and self._codec.one_way:
                self._note_end(CloseCode.NORMAL, "client left")
            else:
                self._note_end(ABNORMAL, "connection lost")
        self._leave()
        if self._closer is not None:
            self._closer.cancel()
            self._closer = None
        self._connections.discard(self)

    # Calls of the codec, see `RunningStream`

    def send(self, data: bytes) -> None:
        """Send bytes, after all bytes that were passed in before."""
        self._transport.write(data)

    def pong_received(self) -> None:
        """Note that the client has sent a pong."""
        self._context.heartbeat.pong_received(self)

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
        """Pause reading briefly, because received data is discarded."""
        self._context.slow_reader.pause(self._transport)

    # Closing

    def ping(self) -> None:
        """Send a ping."""
        if self._codec.one_way:
            # The TCP user timeout ends a connection on which this is not acknowledged.
            self._context.heartbeat.pong_received(self)
        self._transport.write(self._codec.ping())

    def end(self, refusal: RefusedError) -> None:
        """End the stream, and send the client the code and the reason of ``refusal``."""
        if self._outcome is None:
            self._note_end(int(refusal.code), refusal.kind)
            if message := self._codec.end_message(refusal):
                self._transport.write(message)
            if self._codec.one_way:
                self.linger()

    def drop(self) -> None:
        """Close the connection at once, and drop the client's unsent data."""
        self._transport.abort()

    def take_usage(self) -> tuple[int, int | None]:
        """Return the number of updates and of bytes that were sent since the last call.

        The number of bytes is None where the system does not count them.
        """
        subscriber = self._subscription.subscriber
        messages = 0 if subscriber is None else subscriber.messages
        size = acknowledged_bytes(self.descriptor)
        before, self._reported_usage = self._reported_usage, (messages, size or 0)
        return messages - before[0], None if size is None else size - before[1]

    def closed(self, code: int, reason: str) -> None:
        """Note that the client or the codec has ended the stream; a second call does nothing."""
        if self._outcome is None:
            self._note_end(code, reason)

    def shutdown(self) -> None:
        """End the stream, because the process stops and `Drain` had no time to end it."""
        if self._opening is not None:
            self._transport.abort()
        else:
            self.end(RefusedError("going away", code=CloseCode.GOING_AWAY))

    def _note_end(self, code: int, reason: str) -> None:
        self._outcome = (code, reason)
        self._leave()
        if not self._transport.is_closing():
            self._closer = self._context.loop.call_later(CLOSE_TIMEOUT, self._transport.abort)
        self._context.metrics.closed(code, reason)
        self._context.log.info(
            "stream closed",
            **self._log_fields,
            code=code,
            reason=reason,
            seconds=round(self._context.clock.monotonic() - self._opened_at, 3),
        )

    def _leave(self) -> None:
        if self._commands is not None:
            self._commands.close()
        self._context.heartbeat.remove(self)
        self._context.open_streams.remove(self)
        self._subscription.close()
        self._permit.free()

    def linger(self, *, quiet: float = 0.0) -> None:
        """Send nothing more, and discard data from the client; see `LingeringClose`."""
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
