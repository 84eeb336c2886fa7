"""Serve a stream on a WebSocket connection: handshake, frames, pings and close.

The sans-I/O classes of the `websockets` library implement the protocol. Most of what a client
sends is pongs; its commands go to its `Dialog`. Frames are read one by one, a limited number per
turn of the loop, and counted, so that a client that sends too much costs no more than others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableSet
from typing import Any, Final

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, Protocol, Side, State

from ime_live.errors import CloseCode, RefusedError
from ime_live.gateway.auth.authenticator import find_token
from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.stream_query import EVENTS_ROOT, StreamRequest, endpoint_of
from ime_live.gateway.stream.commands import Dialog
from ime_live.gateway.stream.connection import ABNORMAL, Connection
from ime_live.gateway.stream.context import GatewayContext
from ime_live.gateway.stream.lingering import QUIET
from ime_live.gateway.stream.request_head import RequestHead

# A client may send as many messages at once as in five seconds.
_BURST_SECONDS: Final = 5.0

# A client's answer to our empty ping: a masked frame without a payload.
_EMPTY_PONG: Final = b"\x8a\x80"
_PONG_LENGTH: Final = 6

# Frames that are read in one turn of the loop; they take less than a millisecond.
_FRAMES_PER_TURN: Final = 64


class StreamProtocol(Connection):
    """One WebSocket connection."""

    __slots__ = (
        "_allowance",
        "_answer",
        "_awaited_pongs",
        "_deflate",
        "_dialog",
        "_fragments",
        "_frames",
        "_heard",
        "_is_text",
        "_missing",
        "_unread",
    )

    def __init__(self, context: GatewayContext, connections: MutableSet[Any]) -> None:
        """Make a stream without a transport; see `Connection`."""
        super().__init__(context, connections)
        self._deflate: PerMessageDeflate | None = None
        self._answer = b""
        """Response to the handshake, until it is sent."""
        self._unread = bytearray()
        """Bytes that have arrived and are not parsed yet."""
        self._missing = 0
        """Bytes still to come of the frame that is being parsed."""
        self._frames: Protocol | None = None
        """Made when the client sends more than pongs: most never do, and it takes 3 kB."""
        self._dialog: Dialog | None = None
        """Made when the client sends a message, for the same reason."""
        self._fragments = b""
        """Received part of a fragmented message."""
        self._is_text = False
        self._awaited_pongs = 0
        """Pings that the client has not answered; answers to them are not counted as messages."""
        self._heard = 0.0
        self._allowance = 0.0

    # The handshake

    def open(self, transport: asyncio.Transport, head: RequestHead, rest: bytes) -> None:
        """Take over ``transport``; see `Connection`."""
        context = self._context
        self._take(transport)
        by = endpoint_of(head.path, context.settings.root_path)
        if by is None:
            if endpoint_of(head.path, context.settings.root_path, EVENTS_ROOT) is None:
                self._reject(context.handshake.reject(404, "There is no stream at this path.\n"))
            else:
                text = "This is a stream of server-sent events: send a GET without an upgrade.\n"
                self._reject(context.handshake.reject(400, text))
            return
        handshake = context.handshake.negotiate(head)
        if not handshake.accepted:
            self._reject(handshake.answer)
            return
        self._deflate = handshake.deflate
        self._answer = handshake.answer
        self._start(lambda: self._read(by, head))
        if rest:
            self.data_received(rest)

    def _reject(self, answer: bytes) -> None:
        self._transport.write(answer)
        self._linger()

    def _read(self, by: By, head: RequestHead) -> tuple[StreamRequest, str | None]:
        request = self._read_query(by, head)
        offered = head.items(b"sec-websocket-protocol")
        return request, find_token(head.field(b"authorization"), offered, request.token)

    def _accept(self) -> None:
        self._transport.write(self._answer)
        self._answer = b""
        self._allowance = self._context.settings.client_rate * _BURST_SECONDS
        self._heard = self._context.monotonic()
        if self._unread:
            self._context.loop.call_soon(self._read_on)

    def _refuse(self, refusal: RefusedError) -> None:
        # A client sees the code and the reason only on an accepted connection.
        self._accept()
        self.end(refusal)

    @property
    def _wrapping(self) -> wire.Format:
        deflate = self._deflate
        if deflate is not None and deflate.local_max_window_bits >= wire.WINDOW_BITS:
            return wire.Format.DEFLATE
        return wire.Format.TEXT

    # Frames from the client

    def data_received(self, data: bytes) -> None:
        """Take received frames: pongs, pings, a close, or messages; see `Dialog`."""
        if (
            len(data) == _PONG_LENGTH
            and data.startswith(_EMPTY_PONG)
            and self._frames is None
            and self._awaited_pongs
            and not self._unread
        ):
            self._awaited_pongs -= 1
            self._context.heartbeat.answered(self)
            return
        self._unread += data
        if self._opening is not None:
            # RFC 6455, 4.1: a client waits for the response to its handshake. Frames of a client
            # that does not wait are read after the response is sent.
            self._transport.pause_reading()
            return
        self._read_on()

    def _read_on(self) -> None:
        """Read some of the frames; the others are read after other clients had their turn."""
        for _ in range(_FRAMES_PER_TURN):
            part = self._next_part()
            if not part:
                self._transport.resume_reading()
                return
            frames = self._parser()
            frames.receive_data(part)
            # A part holds at most one frame, and no other event.
            allowed = all(self._take_frame(frame) for frame in frames.events_received())
            if not allowed:
                self.end(RefusedError("too many messages"))
            self._send(frames)
            if not allowed:
                self._linger(quiet=QUIET)
        self._transport.pause_reading()
        self._context.loop.call_soon(self._read_on)

    def _next_part(self) -> bytes:
        """Return a frame, or the received part of it; empty if its size is not known yet."""
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
                self._frames.extensions = [self._deflate]
        return self._frames

    def _allow(self) -> bool:
        rate = self._context.settings.client_rate
        now = self._context.monotonic()
        self._allowance = min(rate * _BURST_SECONDS, self._allowance + (now - self._heard) * rate)
        self._heard = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    def _take_frame(self, frame: Event) -> bool:
        """Handle a frame; return False if it was one too many."""
        if not isinstance(frame, Frame) or frame.opcode is Opcode.CLOSE:
            return True
        if frame.opcode is Opcode.PONG:
            self._context.heartbeat.answered(self)
            if self._awaited_pongs:
                self._awaited_pongs -= 1
                return True
        if not self._allow():
            return False
        if frame.opcode not in (Opcode.PING, Opcode.PONG):
            self._take_part(frame)
        return True

    def _take_part(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        message = self._fragments + bytes(frame.data)
        self._fragments = b"" if frame.fin else message
        if not frame.fin:
            return
        try:
            if self._is_text:
                message.decode()
            if self._subscription.subscriber is not None:
                if self._dialog is None:
                    self._dialog = Dialog(
                        self._subscription,
                        writable=not self._paused,
                        limited=self._context.limited,
                    )
                self._dialog.receive(message, binary=not self._is_text)
        except UnicodeDecodeError:
            self.end(RefusedError("invalid UTF-8", code=CloseCode.INVALID_DATA))
        except RefusedError as error:
            self.end(error)

    def _send(self, frames: Protocol) -> None:
        ends = False
        for data in frames.data_to_send():
            if data:
                self._transport.write(data)
            else:
                ends = True
        if frames.state is not State.OPEN and self._outcome is None:
            self._ended(*_outcome_of(frames))
        if ends:
            # A client that sent a close frame has sent everything; one that was cut off has not.
            self._linger(quiet=0.0 if frames.close_rcvd is not None else QUIET)

    # The transport

    def pause_writing(self) -> None:
        """Pause the client and its commands: the transport takes no more data."""
        super().pause_writing()
        if self._dialog is not None:
            self._dialog.pause()

    def resume_writing(self) -> None:
        """Resume the client and its commands: the transport takes data again."""
        super().resume_writing()
        if self._dialog is not None and not self._paused:
            self._dialog.resume()

    # The end

    def ping(self) -> None:
        """Send a ping."""
        self._awaited_pongs += 1
        self._transport.write(wire.PING)

    def _say_goodbye(self, refusal: RefusedError) -> None:
        frames = self._parser()
        if frames.state is State.OPEN:
            frames.send_close(refusal.code, refusal.reason)
            self._send(frames)

    def _leave(self) -> None:
        if self._dialog is not None:
            self._dialog.close()
        super()._leave()

    def _linger(self, *, quiet: float = 0.0) -> None:
        self._forget_unread()
        super()._linger(quiet=quiet)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the hub; the connection is gone, whichever side ended it."""
        self._forget_unread()
        super().connection_lost(exc)

    def _forget_unread(self) -> None:
        self._unread.clear()
        self._missing = 0


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
    # The client's own reason is free text, which must not become a label of a metric.
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
