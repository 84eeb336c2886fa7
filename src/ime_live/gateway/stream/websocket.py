"""Codec of WebSocket connections: handshake, frames, pings and close.

The sans-I/O classes of the `websockets` library implement the protocol. Most frames from a client
are pongs; its messages are commands. The number of frames that are read per turn of the event loop
is limited, and so is the rate of messages: a client that sends too much must not harm others.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import partial
from typing import ClassVar, Final

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, Protocol, Side, State

from ime_live.errors import CloseCode, LimitError, RefusedError
from ime_live.gateway.auth.authenticator import find_token
from ime_live.gateway.http.lingering import QUIET
from ime_live.gateway.http.request_head import RequestHead
from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.http_errors import headers_of
from ime_live.gateway.query.stream_query import EVENTS_ROOT, StreamRequest, endpoint_of
from ime_live.gateway.stream.codec import ABNORMAL, RunningStream
from ime_live.gateway.stream.context import GatewayContext

# A masked pong without a payload, the answer to our empty ping.
_EMPTY_PONG: Final = b"\x8a\x80"
_PONG_LENGTH: Final = 6

# Frames that are read in one job of the work queue, which takes about 0.3 ms.
_FRAMES_PER_JOB: Final = 8


class WebSocketCodec:
    """Codec of one WebSocket connection."""

    __slots__ = (
        "_awaited_pongs",
        "_context",
        "_deflate",
        "_fragments",
        "_frames",
        "_is_text",
        "_message_due",
        "_missing",
        "_queued",
        "_response",
        "_unread",
        "by",
    )

    one_way: ClassVar = False
    log_fields: ClassVar[Mapping[str, object]] = {}

    def __init__(self, context: GatewayContext) -> None:
        """Create the codec of a new connection.

        Args:
            context: the gateway context.
        """
        self._context = context
        self.by: By
        self._deflate: PerMessageDeflate | None = None
        self._response = b""
        """Response to the handshake, until it is sent."""
        self._unread = bytearray()
        """Received bytes that are not parsed yet."""
        self._queued = False
        """Whether these bytes wait in the work queue."""
        self._missing = 0
        """Number of missing bytes of the frame that is being parsed."""
        self._frames: Protocol | None = None
        """Parser of frames. It takes 3 kB, and most clients send only pongs, so it is made when a
        client sends something else."""
        self._fragments = b""
        """Received part of a fragmented message."""
        self._is_text = False
        self._awaited_pongs = 0
        """Number of pings without an answer; their pongs do not count for the message rate."""
        self._message_due = 0.0
        """See `Rate.take`."""

    # Opening

    def negotiate(self, head: RequestHead) -> bytes:
        """Read the handshake; return a response that rejects it, or empty bytes."""
        context = self._context
        root_path = context.settings.root_path
        by = endpoint_of(head.path, root_path)
        if by is None:
            if endpoint_of(head.path, root_path, EVENTS_ROOT) is None:
                return context.handshake.reject(404, "There is no stream at this path.\n")
            text = "This is a stream of server-sent events: send a GET without an upgrade.\n"
            return context.handshake.reject(400, text)
        handshake = context.handshake.negotiate(head)
        if not handshake.accepted:
            return handshake.response
        self.by = by
        self._deflate = handshake.deflate
        self._response = handshake.response
        return b""

    def complete(
        self, request: StreamRequest, head: RequestHead
    ) -> tuple[StreamRequest, str | None]:
        """Return the request, and the token, which may be in an offered subprotocol."""
        offered = head.items(b"sec-websocket-protocol")
        return request, find_token(head.field(b"authorization"), offered, request.token)

    @property
    def format(self) -> wire.Format:
        """Format of the messages: compressed if the client's window is large enough."""
        deflate = self._deflate
        if deflate is not None and deflate.local_max_window_bits >= wire.WINDOW_BITS:
            return wire.Format.DEFLATE
        return wire.Format.TEXT

    def accept(self) -> bytes:
        """Return the response to the handshake."""
        response, self._response = self._response, b""
        return response

    def refuse(self, refusal: RefusedError) -> bytes:
        """Return an accepted handshake and a close frame, or an HTTP response for a limit.

        A browser can read a code and a reason only on an accepted connection. An HTTP response
        costs less, and proxies can react to its status.
        """
        if isinstance(refusal, LimitError):
            self._response = b""
            return self._context.handshake.reject(
                refusal.status, refusal.reason, headers_of(refusal)
            )
        return self.accept() + self.end_message(refusal)

    def response_sent(self, stream: RunningStream) -> None:
        """Read the frames that arrived before the response, through the work queue."""
        if self._unread:
            self._read_in_turn(stream, later=True)

    # Frames from the client

    def receive(self, data: bytes, stream: RunningStream) -> None:
        """Handle received frames: pongs, pings, a close, or messages."""
        if (
            len(data) == _PONG_LENGTH
            and data.startswith(_EMPTY_PONG)
            and self._frames is None
            and self._awaited_pongs
            and not self._unread
        ):
            self._awaited_pongs -= 1
            stream.pong_received()
            return
        self._unread += data
        if self._response:
            # RFC 6455, 4.1: a client must wait for the response to its handshake. If it does not,
            # its frames are read after the response was sent.
            stream.pause_reading()
            return
        self._read_in_turn(stream)

    def _read_in_turn(self, stream: RunningStream, *, later: bool = False) -> None:
        """Read frames through the work queue, usually at once."""
        if self._queued:
            stream.pause_reading()
            return
        self._queued = True
        work, job = self._context.work, partial(self._read_on, stream)
        if later:
            work.add(job)
        elif work.run(job):
            return
        stream.pause_reading()

    def _read_on(self, stream: RunningStream) -> None:
        """Read a limited number of frames, and queue the rest behind the jobs of other clients."""
        if not self._queued:
            return  # closed meanwhile
        self._queued = False
        for _ in range(_FRAMES_PER_JOB):
            part = self._next_part()
            if not part:
                stream.resume_reading()
                return
            frames = self._parser()
            frames.receive_data(part)
            # A part contains at most one frame, and no other event.
            allowed = all(self._take_frame(frame, stream) for frame in frames.events_received())
            if not allowed:
                stream.end(RefusedError("too many messages"))
            self._send(frames, stream)
            if not allowed:
                stream.linger(quiet=QUIET)
        self._read_in_turn(stream, later=True)

    def _next_part(self) -> bytes:
        """Remove and return the next frame, or its received part; empty if its size is unknown."""
        size = self._missing or _size_of(self._unread)
        part = bytes(self._unread[:size])
        del self._unread[:size]
        self._missing = size - len(part)
        return part

    def _parser(self) -> Protocol:
        if self._frames is None:
            self._frames = Protocol(
                Side.SERVER, state=State.OPEN, max_size=self._context.settings.max_client_message
            )
            if self._deflate is not None:
                # A copy: it keeps the state of a fragmented message.
                self._frames.extensions = [copy(self._deflate)]
        return self._frames

    def _allow(self) -> bool:
        context = self._context
        now = context.clock.monotonic()
        self._message_due, wait = context.message_rate.take(self._message_due, now)
        return not wait

    def _take_frame(self, frame: Event, stream: RunningStream) -> bool:
        """Handle a frame; return False if the client exceeds the message rate."""
        if not isinstance(frame, Frame) or frame.opcode is Opcode.CLOSE:
            return True
        if frame.opcode is Opcode.PONG:
            stream.pong_received()
            if self._awaited_pongs:
                self._awaited_pongs -= 1
                return True
        if not self._allow():
            return False
        if frame.opcode not in (Opcode.PING, Opcode.PONG):
            self._take_part(frame, stream)
        return True

    def _take_part(self, frame: Frame, stream: RunningStream) -> None:
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        message = self._fragments + bytes(frame.data)
        self._fragments = b"" if frame.fin else message
        if not frame.fin:
            return
        try:
            if self._is_text:
                message.decode()
            stream.message_received(message, binary=not self._is_text)
        except UnicodeDecodeError:
            stream.end(RefusedError("invalid UTF-8", code=CloseCode.INVALID_DATA))
        except RefusedError as error:
            stream.end(error)

    def _send(self, frames: Protocol, stream: RunningStream) -> None:
        ends = False
        for data in frames.data_to_send():
            if data:
                stream.send(data)
            else:
                ends = True
        if frames.state is not State.OPEN:
            stream.closed(*_outcome_of(frames))
        if ends:
            # A client sends nothing after its close frame; without one, more data may follow.
            stream.linger(quiet=0.0 if frames.close_rcvd is not None else QUIET)

    # Closing

    def ping(self) -> bytes:
        """Return a ping, and expect a pong."""
        self._awaited_pongs += 1
        return wire.PING

    def end_message(self, refusal: RefusedError) -> bytes:
        """Return a close frame with the code and the reason; empty if one was sent before."""
        frames = self._parser()
        if frames.state is State.OPEN:
            frames.send_close(refusal.code, refusal.reason)
        return b"".join(frames.data_to_send())

    def close(self) -> None:
        """Drop received data that was not parsed."""
        self._unread.clear()
        self._missing = 0
        self._queued = False


def _size_of(frames: bytearray) -> int:
    """Return the size of the first frame from its header (RFC 6455, 5.2); 0 if incomplete."""
    if len(frames) < 2:
        return 0
    size, masked = frames[1] & 0x7F, frames[1] & 0x80
    extended = {126: 2, 127: 8}.get(size, 0)
    header = 2 + extended
    if len(frames) < header:
        return 0
    if extended:
        size = int.from_bytes(frames[2:header])
    return header + (4 if masked else 0) + size


def _outcome_of(frames: Protocol) -> tuple[int, str]:
    # The client's reason is free text, which must not become the label of a metric.
    if frames.close_rcvd is not None and frames.close_rcvd_then_sent:
        return int(frames.close_rcvd.code), "client left"
    sent = frames.close_sent
    if sent is None:
        return ABNORMAL, "connection lost"
    return int(sent.code), _PROTOCOL_REASONS.get(sent.code, "protocol error")


_PROTOCOL_REASONS: Final[Mapping[int, str]] = {
    CloseCode.MESSAGE_TOO_BIG: "message too big",
    CloseCode.INVALID_DATA: "invalid UTF-8",
}
