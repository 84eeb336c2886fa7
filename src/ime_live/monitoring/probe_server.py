"""Probe server: serve ``/health``, ``/ready`` and ``/metrics`` of a program without clients.

The server must not harm the program. A connection has a few seconds for one small request, and the
number of connections is limited; more connections are closed at once.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import msgspec
import structlog
from prometheus_client import CONTENT_TYPE_LATEST

from ime_live.log_limiter import LogLimiter

log = structlog.get_logger()

TIMEOUT: Final = 5.0
"""Maximum duration of a connection [s]."""

MAX_CONNECTIONS: Final = 16
"""Maximum number of connections; a scrape needs one for some milliseconds."""

MAX_HEAD: Final = 8_192
"""Maximum size of the request line and headers [bytes]."""

_JSON: Final = "application/json"
_METHODS: Final = ("GET", "HEAD")
_FAILED: Final = "the metrics cannot be made"

NotReady = Callable[[], str | None]
"""Returns the reason why a program is not ready; None if it is ready."""


class ProbeServer:
    """HTTP server for the probes of load balancers, supervisors and Prometheus."""

    def __init__(
        self, not_ready: NotReady, exposition: Callable[[], bytes], *, timeout: float = TIMEOUT
    ) -> None:
        """Create a server.

        Args:
            not_ready: returns the reason why the program is not ready; None if it is ready.
            exposition: returns the metrics in Prometheus's text format.
            timeout: maximum duration of a connection [s].
        """
        self._not_ready = not_ready
        self._exposition = exposition
        self._timeout = timeout
        self._writers: set[asyncio.StreamWriter] = set()
        self._limited = LogLimiter(log)

    @asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serve on a bound socket in the block."""
        server = await asyncio.start_server(self._connect, sock=listener, limit=MAX_HEAD)
        host, port = listener.getsockname()[:2]
        log.info("listening", host=host, port=port, paths="/health,/ready,/metrics")
        try:
            yield
        finally:
            server.close()
            for writer in self._writers:  # a scrape that hangs must not delay the exit
                writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._writers) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            async with asyncio.timeout(self._timeout):
                writer.write(self.response_to(await _head_from(reader)))
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, EOFError):
            pass  # the client is too slow, or has left
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    def response_to(self, head: bytes) -> bytes:
        """Return the response to a request.

        Args:
            head: request line and headers; empty if they are too long.
        """
        words = head.partition(b"\r\n")[0].split(b" ")
        if not head:
            return _response(431, "the request is too long")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response(400, "the request is not HTTP/1.1")
        method, target = words[0].decode("latin-1"), words[1].decode("latin-1")
        if method not in _METHODS:
            return _response(405, "the method must be GET or HEAD", headers="Allow: GET, HEAD\r\n")
        try:
            response = self._respond(target.partition("?")[0].rstrip("/"))
        except Exception as error:  # noqa: BLE001 - the program must continue
            self._limited.error(_FAILED, key=repr(error), exc_info=error)
            response = _response(500, _FAILED)
        return response if method == "GET" else response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"

    def _respond(self, path: str) -> bytes:
        match path:
            case "/health":
                return _response(200, {"status": "ok"})
            case "/ready":
                reason = self._not_ready()
                return _response(503 if reason else 200, {"ready": not reason, "reason": reason})
            case "/metrics":
                return _response(200, self._exposition(), content_type=CONTENT_TYPE_LATEST)
        return _response(404, "the path must be /health, /ready or /metrics")


async def _head_from(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return b""


def _response(status: int, body: object, *, content_type: str = _JSON, headers: str = "") -> bytes:
    if isinstance(body, str):
        body = {"detail": body}
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
        f"Content-Type: {content_type}\r\n{headers}"
        f"Content-Length: {len(content)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + content
