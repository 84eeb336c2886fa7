"""Wire: HTTP/1.1 and WebSocket on raw sockets, for servers of the tests that may misbehave.

A connection parses requests from its bytes and writes answers byte by byte, also partial ones.
SignalR is in other modules.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from email.utils import formatdate
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import h11
from msgspec import Struct
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

_READ: Final = 65_536
JSON_TYPE: Final = "application/json; charset=UTF-8"
_REASONS: Final = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found"}


class Request(Struct, frozen=True):
    """One request, as it came."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    time: float
    """When it had come, on the event loop's clock."""

    @property
    def path(self) -> str:
        """The path alone; a proxy's absolute form is taken as well."""
        return urlsplit(self.target).path or "/"

    @property
    def raw_query(self) -> str:
        """The query, still encoded."""
        return urlsplit(self.target).query

    @property
    def query(self) -> dict[str, str]:
        """The query, decoded as ASP.NET does: plus signs are spaces."""
        return dict(parse_qsl(self.raw_query, keep_blank_values=True))

    @property
    def form(self) -> dict[str, str]:
        """The body as a form."""
        return dict(parse_qsl(self.body.decode("latin-1"), keep_blank_values=True))

    def header(self, name: str) -> str:
        """All values of a header, joined; empty if there is none."""
        return ", ".join(value for key, value in self.headers if key == name.lower())

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies it carries."""
        pairs = (each.strip().partition("=") for each in self.header("cookie").split(";"))
        return {name: value for name, _, value in pairs if name}


class Exchange:
    """A request and the connection to answer on."""

    def __init__(self, request: Request, wire: Wire) -> None:
        self.request = request
        self.keep = True
        """Whether the connection may bring a further request afterwards."""
        self._wire = wire
        self._writer = wire.writer
        self.headers: list[tuple[str, str]] = []
        """Sent with the answer besides the usual ones."""
        self.ahead = 0.0
        """Seconds by which the answer's ``Date`` is ahead of this machine's clock."""

    def write(self, data: bytes) -> None:
        """Write to the socket, without waiting."""
        if not self._writer.transport.is_closing():
            self._writer.write(data)

    def head(self, status: int, *headers: tuple[str, str]) -> None:
        """Write an answer's head."""
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Other')}"]
        lines += [f"{name}: {value}" for name, value in (*headers, *self.headers)]
        date = formatdate(time.time() + self.ahead, usegmt=True)
        lines += [f"Date: {date}", "X-Content-Type-Options: nosniff", "", ""]
        self.write("\r\n".join(lines).encode())

    def answer(self, status: int, body: bytes | str, kind: str = JSON_TYPE) -> None:
        """Write a whole answer."""
        body = body.encode() if isinstance(body, str) else body
        self.head(status, ("Content-Type", kind), ("Content-Length", str(len(body))))
        self.write(body)

    def stream(self, kind: str) -> None:
        """Write the head of a chunked answer."""
        self.head(200, ("Content-Type", kind), ("Transfer-Encoding", "chunked"))

    def chunk(self, data: bytes, *, only: int | None = None) -> None:
        """Write a chunk, or only its first ``only`` bytes after a header that promises all."""
        self.write(b"%x\r\n" % len(data))
        self.write(data + b"\r\n" if only is None else data[:only])

    def end(self) -> None:
        """Write the end of a chunked answer."""
        self.write(b"0\r\n\r\n")

    def cut(self) -> None:
        """Close the connection after what was written, whatever that leaves unfinished."""
        self.keep = False
        if not self._writer.transport.is_closing():
            self._writer.close()

    async def gone(self) -> None:
        """Return when the client has closed the connection, and keep its bytes."""
        while await self._wire.fill():
            pass

    async def receive(self) -> bytes:
        """Return bytes from the client, b"" at its end."""
        return await self._wire.take()


class Wire:
    """One connection of a client: requests, one after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._kept = b""

    async def fill(self) -> bool:
        """Wait for bytes and keep them; False at the end."""
        with suppress(ConnectionError):
            data = await self._reader.read(_READ)
            self._kept += data
            return bool(data)
        return False

    async def take(self) -> bytes:
        """Bytes, kept ones first; b"" at the end."""
        if not self._kept:
            await self.fill()
        data, self._kept = self._kept, b""
        return data

    async def next(self) -> Exchange | None:
        """The next request; None when the client has closed the connection.

        Raises:
            h11.RemoteProtocolError: it is no HTTP.
        """
        parser = h11.Connection(h11.SERVER)
        head: h11.Request | None = None
        body = b""
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                data = await self.take()
                if not data:
                    return None
                parser.receive_data(data)
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return None
        assert head is not None
        self._kept = parser.trailing_data[0] + self._kept
        request = Request(
            method=head.method.decode(),
            target=head.target.decode(),
            headers=tuple((k.decode(), v.decode()) for k, v in head.headers),
            body=body,
            time=asyncio.get_running_loop().time(),
        )
        return Exchange(request, self)


class WebSocket:
    """The server's side of a WebSocket on an exchange whose request asked for it."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._protocol = ServerProtocol()
        request = exchange.request
        lines = [f"GET {request.target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in request.headers]
        self._protocol.receive_data("\r\n".join([*lines, "", ""]).encode())
        self.accepted = False
        for event in self._protocol.events_received():
            response = self._protocol.accept(event)  # type: ignore[arg-type] # the handshake
            for name, value in exchange.headers:
                response.headers[name] = value
            self._protocol.send_response(response)
            self.accepted = response.status_code == 101
        self._flush()
        exchange.keep = False

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._exchange.write(data)

    def send(self, text: bytes) -> None:
        """Send a text message."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_text(text)
            self._flush()

    def send_part(self, text: bytes, only: int) -> None:
        """Send the first ``only`` bytes of a frame that promises all of them."""
        frame = WebSocketFrame(Opcode.TEXT, text).serialize(mask=False)
        self._exchange.write(frame[: len(frame) - len(text) + only])

    def close(self) -> None:
        """Say goodbye as a server does that ends a connection in good order."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
            self._flush()

    async def messages(self) -> list[bytes]:
        """Serve the client until it is gone; the messages it has sent."""
        sent: list[bytes] = []
        while data := await self._exchange.receive():
            self._protocol.receive_data(data)
            sent += [
                bytes(event.data)
                for event in self._protocol.events_received()
                if isinstance(event, WebSocketFrame)
                and event.opcode in (Opcode.TEXT, Opcode.BINARY)
            ]
            self._flush()
            if self._protocol.close_expected():
                break
        return sent
