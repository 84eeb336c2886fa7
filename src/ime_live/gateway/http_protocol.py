"""Read the HTTP requests of a connection, and pass each to a stream or to the ASGI application.

uvicorn makes one protocol object per connection. It reads requests one at a time. A stream takes
over the connection; the ASGI application answers all other requests. The next request is not read
before the response is complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ime_live.errors import RefusedError
from ime_live.gateway.drain import DrainState
from ime_live.gateway.http.asgi_exchange import STATUS_LINES, Exchange, scope_of
from ime_live.gateway.http.lingering import LingeringClose
from ime_live.gateway.http.peer import peer_of
from ime_live.gateway.http.request_head import RequestError, RequestHead
from ime_live.gateway.http.request_reader import RequestReader
from ime_live.gateway.limits.stream_limits import Permit
from ime_live.gateway.query.http_errors import headers_of, status_of
from ime_live.gateway.query.stream_query import EVENTS_ROOT, endpoint_of
from ime_live.gateway.stream.admission import admit_stream, client_address
from ime_live.gateway.stream.codec import Codec
from ime_live.gateway.stream.connection import Connection
from ime_live.gateway.stream.context import GatewayContext
from ime_live.gateway.stream.sse import EventCodec
from ime_live.gateway.stream.websocket import WebSocketCodec

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

CONTEXT: Final = "ime_live.context"
"""Key under which the ASGI lifespan passes the process's `GatewayContext` to its protocols."""

_LARGE_REQUEST: Final = 8_192
"""Size of a request that may take milliseconds to parse [bytes]."""

_NO_FIELDS: Final[Mapping[str, str]] = {}

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class HttpProtocol(asyncio.Protocol):
    """One HTTP connection, which answers one request at a time; an `AsgiConnection`."""

    __slots__ = (
        "_app",
        "_app_state",
        "_buffered",
        "_client",
        "_connections",
        "_context",
        "_eof",
        "_exchange",
        "_idle_timeout",
        "_is_idle",
        "_loop",
        "_queued",
        "_reader",
        "_server",
        "_server_state",
        "_timer",
        "_transport",
        "_unwritable",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Make a protocol without a transport, as uvicorn does.

        Args:
            config: uvicorn's configuration, with the ASGI application.
            server_state: all connections and requests of the process.
            app_state: the state of the application's lifespan, with the `GatewayContext`.
        """
        self._app = config.loaded_app
        self._idle_timeout = config.timeout_keep_alive
        self._server_state = server_state
        self._connections: set[Any] = server_state.connections
        self._app_state = app_state
        self._context: GatewayContext = app_state[CONTEXT]
        self._loop = self._context.loop
        self._reader = RequestReader(self._context.settings.max_request)
        self._transport: asyncio.Transport
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int] | None = None
        """Address of the listener. Both addresses are set when the first exchange needs them."""
        self._exchange: Exchange | None = None
        """The request whose response is outstanding."""
        self._unwritable: asyncio.Event | None = None
        """Event that is set when the socket is writable again; None while it is writable."""
        self._buffered = 0
        """Size of a request that is incomplete or waits in the work queue; see `RequestMemory`."""
        self._queued = False
        """Whether received bytes wait in the work queue."""
        self._eof = False
        """Whether the client has closed its half of the connection."""
        self._timer: asyncio.TimerHandle | None = None
        self._is_idle = False
        """Whether the timer runs between two requests."""

    # The transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        self._transport = transport
        self._connections.add(self)
        self._set_timer(self._context.settings.handshake_timeout, self._time_out)

    def data_received(self, data: bytes) -> None:
        """Add received bytes, and read the next request."""
        self._reader.feed(data)
        if self._busy:
            self._transport.pause_reading()
        else:
            self._read_in_turn()

    def eof_received(self) -> bool:
        """Keep the connection open while the client may wait for a response.

        Returns:
            Whether to keep the connection open.
        """
        self._eof = True
        return self._busy

    def pause_writing(self) -> None:
        """Make writers wait, because the socket is not writable."""
        self._unwritable = asyncio.Event()

    def resume_writing(self) -> None:
        """Let writers continue, because the socket is writable again."""
        self._release_writers()
        if not (self._busy or self._transport.is_closing()):
            self._read_in_turn()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything, because the connection has ended."""
        del exc
        self._note_buffered(0)
        self._clear_timer()
        self._connections.discard(self)
        if self._exchange is not None:
            self._exchange.disconnect()
        self._release_writers()

    def shutdown(self) -> None:
        """Close after the present request is answered, because the process stops."""
        if self._exchange is not None:
            self._exchange.close_afterwards()
        elif self._queued:
            self._context.work.add(self.shutdown)  # after the queued request was read
        elif self in self._connections:  # else it is closing already
            self._transport.close()

    # Requests

    @property
    def _busy(self) -> bool:
        return self._queued or self._exchange is not None or self._unwritable is not None

    def _read_in_turn(self) -> None:
        """Read the next request through the work queue, usually at once."""
        self._queued = True
        if not self._context.work.run(self._take_turn):
            self._transport.pause_reading()
            self._check_buffered()

    def _take_turn(self) -> None:
        self._queued = False
        # Meanwhile the connection may have ended, or the socket may not be writable.
        if self in self._connections and not self._busy and not self._transport.is_closing():
            if self._reader.size > _LARGE_REQUEST:
                self._context.work.take_rest()
            self._read_on()

    def _read_on(self) -> None:
        """Answer the next request if it is complete; else wait for the rest."""
        try:
            head = self._reader.next_request()
        except RequestError as error:
            self._refuse(error)
            return
        if head is not None:
            self._note_buffered(0)
            self._clear_timer()
            self._answer(head)
            return
        if self._eof:
            self._transport.close()
            return
        if not self._check_buffered():
            return
        if self._reader.awaits_continue:
            self._reader.awaits_continue = False
            self._transport.write(_CONTINUE)
        if not self._reader.has_begun:
            if self._timer is None:
                self._is_idle = True
                self._set_timer(self._idle_timeout, self._transport.close)
        elif self._timer is None or self._is_idle:
            self._is_idle = False
            self._set_timer(self._context.settings.handshake_timeout, self._time_out)
        self._transport.resume_reading()

    def _check_buffered(self) -> bool:
        """Note the size of the buffered request; refuse it if it is too large, and return False."""
        if self._note_buffered(self._reader.size):
            return True
        text = "Too many large requests are on their way; try again later."
        self._refuse(RequestError(503, text))
        return False

    def _note_buffered(self, size: int) -> bool:
        """Note the size of the buffered request, and return whether it is allowed."""
        before, self._buffered = self._buffered, size
        return before == size or self._context.request_memory.change(before, size)

    def _answer(self, head: RequestHead) -> None:
        fields = self._server_state.default_headers
        if head.is_handshake:
            try:
                permit = admit_stream(head, self._transport, self._context)
            except RefusedError as refusal:
                self._respond(status_of(refusal), refusal.reason, headers_of(refusal))
            else:
                self._hand_over(WebSocketCodec(self._context), head, permit)
            return
        if head.method == "GET":
            root_path = self._context.settings.root_path
            by = endpoint_of(head.path, root_path, EVENTS_ROOT)
            if by is not None:
                self._answer_events(EventCodec(self._context, by, fields), head)
                return
        if self._client is None:
            self._client = _address(self._transport.get_extra_info("peername"))
            self._server = _address(self._transport.get_extra_info("sockname"))
        client = self._client
        address = client_address(head, self._transport, self._context.addresses)
        if address is not None:
            client = (address, 0)  # the port of a client is not known
        self._exchange = Exchange(head, self, fields, self._context.limited)
        if self._context.drain.state is not DrainState.SERVING:
            self._exchange.close_afterwards()  # the next request may go to another gateway
        scope = scope_of(head, client, self._server, self._app_state)
        task = self._loop.create_task(self._exchange.run(self._app, scope))
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    def _answer_events(self, codec: EventCodec, head: RequestHead) -> None:
        try:
            permit = admit_stream(head, self._transport, self._context)
        except RefusedError as refusal:
            codec.negotiate(head)
            self._transport.write(codec.refuse(refusal))
            self._end()
        else:
            self._hand_over(codec, head, permit)

    def _hand_over(self, codec: Codec, head: RequestHead, permit: Permit) -> None:
        stream = Connection(self._context, self._connections, codec, permit)
        self._connections.discard(self)
        self._transport.set_protocol(stream)
        if not self._eof:
            self._transport.resume_reading()
        stream.open(self._transport, head, self._reader.take_rest())
        if self._eof:
            # asyncio reports the end of file only once, and did so before.
            protocol = self._transport.get_protocol()
            if isinstance(protocol, asyncio.Protocol) and not protocol.eof_received():
                self._transport.close()

    def response_sent(self, *, keep_alive: bool) -> None:
        """Read the next request, or end the connection."""
        self._exchange = None
        self._server_state.total_requests += 1
        if self._transport.is_closing():
            return
        if not keep_alive:
            self._end()
        elif self._unwritable is None:
            self._read_in_turn()

    def response_failed(self) -> None:
        """Abort the connection, so that a partial response does not look complete."""
        self._transport.abort()

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._transport.write(data)

    async def writable(self) -> None:
        """Wait until the socket is writable."""
        if self._unwritable is not None:
            await self._unwritable.wait()

    # Closing

    def _refuse(self, error: RequestError) -> None:
        self._context.limited.info(
            "request refused",
            key=(error.status, error.text),
            status=error.status,
            reason=error.text,
            peer=peer_of(self._transport),
        )
        self._note_buffered(0)
        self._clear_timer()
        self._respond(error.status, error.text)

    def _respond(self, status: int, text: str, extra: Mapping[str, str] = _NO_FIELDS) -> None:
        """Send a response, and end the connection."""
        body = text.encode()
        fields = [
            *self._server_state.default_headers,
            *((name.lower().encode(), value.encode()) for name, value in extra.items()),
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        lines = b"".join(b"%b: %b\r\n" % field for field in fields)
        self._transport.write(b"%b%b\r\n%b" % (STATUS_LINES[status], lines, body))
        self._end()

    def _end(self) -> None:
        self._connections.discard(self)
        if self._eof:
            self._transport.close()
        else:
            slow_reader = self._context.slow_reader
            LingeringClose(self._transport, self._connections, self._loop, slow_reader)

    def _time_out(self) -> None:
        self._refuse(RequestError(408, "The request did not come in time."))

    def _set_timer(self, seconds: float, act: Callable[[], object]) -> None:
        self._clear_timer()
        self._timer = self._loop.call_later(seconds, act)

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _release_writers(self) -> None:
        if self._unwritable is not None:
            self._unwritable.set()
            self._unwritable = None


def _address(info: Any) -> tuple[str, int] | None:  # noqa: ANN401 - as asyncio has it
    # An IPv6 address has more parts; that of a Unix socket is a path.
    return (info[0], info[1]) if isinstance(info, tuple) else None
