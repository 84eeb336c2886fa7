"""StreamProtocol: one WebSocket connection on a transport.

An upgrade request comes in with its transport; handshake, frames, pings and the close go out.
The sans-I/O classes of the `websockets` library do the protocol's part. What the client sends is
mostly pongs; what asks for something goes to its `Dialog`.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableSet
from http import HTTPStatus
from typing import Any, Final

from websockets.datastructures import Headers
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.headers import parse_subprotocol
from websockets.http11 import Request, Response
from websockets.protocol import Protocol, Side, State

from ime_live.errors import CloseCode, RefusedError
from ime_live.gateway import wire
from ime_live.gateway.auth import find_token
from ime_live.gateway.connection import ABNORMAL, Connection
from ime_live.gateway.dialog import Dialog
from ime_live.gateway.handshake import deflate_of
from ime_live.gateway.services import Services
from ime_live.gateway.session import By, StreamRequest, endpoint_of, read_request

# A client may send five seconds' worth of messages at once.
_BURST_SECONDS: Final = 5.0

# A client's answer to our empty ping: a masked frame without a payload.
_EMPTY_PONG: Final = b"\x8a\x80"
_PONG_LENGTH: Final = 6


class StreamProtocol(Connection):
    """One WebSocket connection; see the module's text."""

    __slots__ = (
        "_allowance",
        "_deflate",
        "_dialog",
        "_fragments",
        "_frames",
        "_heard",
        "_is_text",
        "_response",
    )

    def __init__(self, services: Services, connections: MutableSet[Any]) -> None:
        """Make a stream without a transport; see `Connection`."""
        super().__init__(services, connections)
        self._deflate: PerMessageDeflate | None = None
        self._response = b""
        """The answer to the handshake, until it is sent."""
        self._frames: Protocol | None = None
        """Made when the client sends more than pongs: most never do, and it takes 3 kB."""
        self._dialog: Dialog | None = None
        """Made when the client sends a message, for the same reason."""
        self._fragments = b""
        """Of a message that has begun to come."""
        self._is_text = False
        self._heard = 0.0
        self._allowance = 0.0

    # The handshake

    def open(self, transport: Any, request: Request) -> None:  # noqa: ANN401 - as uvicorn has it
        """Take over ``transport``, on which ``request`` has come."""
        services = self._services
        self._take(transport)
        path, _, query = request.path.partition("?")
        by = endpoint_of(path, services.settings.root_path)
        if by is None:
            self._reject(services.handshake.reject(404, "There is no stream at this path.\n"))
            return
        response = services.handshake.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._reject(response)
            return
        self._deflate = deflate_of(services.handshake)
        self._response = response.serialize()
        self._start(lambda: self._read(by, query, request.headers))

    def _reject(self, response: Response) -> None:
        self._transport.write(response.serialize())
        self._transport.close()

    def _read(self, by: By, query: str, headers: Headers) -> tuple[StreamRequest, str | None]:
        request = read_request(by, query, self._services.zone)
        offered = [
            protocol
            for value in headers.get_all("Sec-WebSocket-Protocol")
            for protocol in parse_subprotocol(value)
        ]
        authorizations = headers.get_all("Authorization")
        return request, find_token(
            authorizations[0] if authorizations else None, offered, request.token
        )

    def _accept(self) -> None:
        self._transport.write(self._response)
        self._response = b""
        self._allowance = self._services.settings.client_rate * _BURST_SECONDS
        self._heard = self._services.monotonic()

    def _refuse(self, refusal: RefusedError) -> None:
        # A client sees the code and the reason on an accepted connection only.
        self._accept()
        self.end(refusal)

    @property
    def _wrapping(self) -> wire.Format:
        deflate = self._deflate
        if deflate is not None and deflate.local_max_window_bits >= wire.WINDOW_BITS:
            return wire.Format.DEFLATE
        return wire.Format.TEXT

    # What the client sends

    def data_received(self, data: bytes) -> None:
        """Frames have come: pongs, pings, a close, or messages, see `Dialog`."""
        if self._frames is None:
            if len(data) == _PONG_LENGTH and data.startswith(_EMPTY_PONG):
                self._services.heartbeat.answered(self)
                return
            if self._opening is not None:
                # RFC 6455, 4.1: a client waits for the answer to its handshake.
                self._transport.abort()
                return
        frames = self._protocol()
        frames.receive_data(data)
        for frame in frames.events_received():
            if not isinstance(frame, Frame) or frame.opcode is Opcode.CLOSE:
                continue
            if frame.opcode is Opcode.PONG:
                self._services.heartbeat.answered(self)
                continue
            try:
                self._allow()
                if frame.opcode is not Opcode.PING:
                    self._take_part(frame)
            except RefusedError as error:
                self.end(error)
                break
        self._send(frames)

    def _protocol(self) -> Protocol:
        if self._frames is None:
            self._frames = Protocol(
                Side.SERVER, state=State.OPEN, max_size=self._services.settings.max_client_message
            )
            if self._deflate is not None:
                self._frames.extensions = [self._deflate]
        return self._frames

    def _allow(self) -> None:
        rate = self._services.settings.client_rate
        now = self._services.monotonic()
        self._allowance = min(rate * _BURST_SECONDS, self._allowance + (now - self._heard) * rate)
        self._heard = now
        if self._allowance < 1:
            raise RefusedError("too many messages")
        self._allowance -= 1

    def _take_part(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        text = self._fragments + bytes(frame.data)
        self._fragments = b"" if frame.fin else text
        if not (frame.fin and self._is_text):
            return
        try:
            text.decode()
        except UnicodeDecodeError:
            raise RefusedError("invalid UTF-8", code=CloseCode.INVALID_DATA) from None
        if self._subscription.client is not None:
            if self._dialog is None:
                self._dialog = Dialog(self._subscription, writable=not self._paused)
            self._dialog.receive(text)

    def _send(self, frames: Protocol) -> None:
        for data in frames.data_to_send():
            if data:
                self._transport.write(data)
            elif self._transport.can_write_eof():
                # Only our half: closing at once would reset the connection while the client
                # is still sending, and it would not get to see our close frame.
                self._transport.write_eof()
            else:
                self._transport.close()
        if frames.state is not State.OPEN and self._outcome is None:
            self._ended(*_outcome_of(frames))

    # The transport

    def pause_writing(self) -> None:
        """The transport takes no more for now."""
        super().pause_writing()
        if self._dialog is not None:
            self._dialog.pause()

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._dialog is not None and not self._paused:
            self._dialog.resume()

    # The end

    def ping(self) -> None:
        """Send a ping."""
        self._transport.write(wire.PING)

    def _say_goodbye(self, refusal: RefusedError) -> None:
        frames = self._protocol()
        if frames.state is State.OPEN:
            frames.send_close(refusal.code, refusal.reason)
            self._send(frames)

    def _leave(self) -> None:
        if self._dialog is not None:
            self._dialog.close()
        super()._leave()


def _outcome_of(frames: Protocol) -> tuple[int, str]:
    # The reason that a client gives is its own text, and no label for a metric.
    if frames.close_rcvd is not None and frames.close_rcvd_then_sent:
        return frames.close_rcvd.code, "client left"
    sent = frames.close_sent
    if sent is None:
        return ABNORMAL, "connection lost"
    return sent.code, _PROTOCOL_REASONS.get(sent.code, "protocol error")


_PROTOCOL_REASONS: Final[Mapping[int, str]] = {
    CloseCode.MESSAGE_TOO_BIG: "message too big",
    CloseCode.INVALID_DATA: "invalid UTF-8",
}
