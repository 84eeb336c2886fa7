"""Run the ASGI application for one request, and write its response."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote

from ime_live.gateway.http.request_head import RequestHead

if TYPE_CHECKING:
    from ime_live.log_limiter import LogLimiter

STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}

# Characters that must not occur in a field, because they could end its line (RFC 9110, 5.5).
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

_NO_BODY: Final = (204, 304)

_Fields = Iterable[tuple[bytes, bytes]]


class AsgiConnection(Protocol):
    """Interface of the connection to an exchange."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    async def writable(self) -> None:
        """Wait until the socket is writable."""

    def response_sent(self, *, keep_alive: bool) -> None:
        """Continue after a complete response; close the connection unless ``keep_alive``."""

    def response_failed(self) -> None:
        """End the connection after a missing or partial response."""


def scope_of(
    head: RequestHead,
    client: tuple[str, int] | None,
    server: tuple[str, int] | None,
    state: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the ASGI scope of a request.

    Args:
        head: head of the request.
        client: address and port of the client; None if unknown.
        server: address and port of the listener; None if unknown.
        state: state of the application's lifespan.
    """
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": head.version,
        "server": server,
        "client": client,
        "scheme": "http",
        "root_path": "",
        "method": head.method,
        "path": unquote(head.path) if "%" in head.path else head.path,
        "raw_path": head.path.encode(),
        "query_string": head.query.encode(),
        "headers": list(head.fields.items()),
        "state": dict(state),
    }


class Exchange:
    """One request and its response."""

    __slots__ = (
        "_body_received",
        "_chunked",
        "_connection",
        "_default_fields",
        "_ended",
        "_keep_alive",
        "_limited",
        "_remaining",
        "_started",
        "_unsent_head",
        "_waiter",
        "_without_body",
    )

    def __init__(
        self,
        head: RequestHead,
        connection: AsgiConnection,
        default_fields: _Fields,
        limited: LogLimiter,
    ) -> None:
        """Make an exchange without a response.

        Args:
            head: head of the request, whose body has been read and discarded.
            connection: the connection of the request.
            default_fields: header fields of all responses.
            limited: logs failures at a limited rate.
        """
        self._connection = connection
        self._limited = limited
        self._default_fields = default_fields
        self._keep_alive = head.keep_alive
        self._without_body = head.method == "HEAD"
        self._chunked = head.version == "1.1"
        """Whether a body of unknown length is sent in chunks; else it ends with the connection."""
        self._remaining: int | None = None
        """Number of bytes that the body lacks by its Content-Length; None without that field."""
        self._started = False
        self._unsent_head = b""
        """Head of the response, which is sent with the first part of the body."""
        self._ended = False
        """Whether the response is complete, or the client has left."""
        self._body_received = False
        self._waiter: asyncio.Future[None] | None = None

    async def run(self, app: Any, scope: dict[str, Any]) -> None:  # noqa: ANN401 - ASGI
        """Run the application; respond with 500 if it fails before its first byte."""
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001 - logged, and answered with 500
            # Only the path is logged: a query may contain a token.
            event = "request failed"
            self._limited.error(
                event, key=(event, type(error).__name__), path=scope["path"], exc_info=error
            )
        if self._ended:
            return
        if self._started and not self._unsent_head:
            self._connection.response_failed()
            return
        text = b"Internal Server Error"
        fields = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(text)),
            (b"connection", b"close"),
        ]
        self._start(500, fields)
        self._continue(text, more=False)

    def close_afterwards(self) -> None:
        """Close the connection after this response."""
        self._keep_alive = False

    def disconnect(self) -> None:
        """End the exchange, because the client has left."""
        self._ended = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _receive(self) -> dict[str, Any]:
        if not self._body_received:
            self._body_received = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if not self._ended:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:  # noqa: ANN401 - ASGI
        await self._connection.writable()
        if self._ended:
            return
        if message["type"] == "http.response.start" and not self._started:
            self._start(message["status"], message.get("headers", ()))
        elif message["type"] == "http.response.body" and self._started:
            self._continue(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"a response must be a start and then a body, got {message['type']}")

    def _start(self, status: int, fields: _Fields) -> None:
        lines = [STATUS_LINES[status]]
        closes = False
        fields = [*self._default_fields, *fields]
        if _CONTROLS.search(b"".join(chain.from_iterable(fields))):
            invalid = next(field for field in fields if _CONTROLS.search(b"".join(field)))
            raise RuntimeError("a header must be printable, got {!r}: {!r}".format(*invalid))
        for name, value in fields:
            name = name.lower()
            if name == b"content-length":
                self._remaining = int(value)
            elif name == b"connection":
                closes = b"close" in value.lower()
            lines += name, b": ", value, b"\r\n"
        self._without_body = self._without_body or status in _NO_BODY
        if self._remaining is None and not self._without_body:
            if self._chunked:
                lines.append(b"transfer-encoding: chunked\r\n")
            else:
                self._keep_alive = False
        self._keep_alive = self._keep_alive and not closes
        if not (self._keep_alive or closes):
            lines.append(b"connection: close\r\n")
        lines.append(b"\r\n")
        self._unsent_head = b"".join(lines)
        self._started = True

    def _continue(self, body: bytes, *, more: bool) -> None:
        if self._without_body:
            body = b""
        elif self._remaining is not None:
            self._remaining -= len(body)
            if self._remaining < 0 or (self._remaining and not more):
                raise RuntimeError(
                    f"a body must be as long as announced, got {-self._remaining} more"
                )
        elif self._chunked:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                body += b"0\r\n\r\n"
        self._connection.write(b"".join((self._unsent_head, body)))
        self._unsent_head = b""
        if not more:
            self.disconnect()
            self._connection.response_sent(keep_alive=self._keep_alive)
