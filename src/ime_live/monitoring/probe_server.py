"""Probe server: answer ``/health``, ``/ready`` and ``/metrics`` of a program without clients.

It must not disturb its program. A connection has a few seconds for one small request, and the
number of connections is limited; further ones are closed at once.
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
"""Seconds from the beginning of a connection to its end."""

MAX_CONNECTIONS: Final = 16
"""Connections at a time; a scrape needs one for some milliseconds."""

MAX_HEAD: Final = 8_192
"""Largest request line with headers [bytes]."""

_JSON: Final = "application/json"
_METHODS: Final = ("GET", "HEAD")
_FAILED: Final = "the metrics cannot be made"

NotReady = Callable[[], str | None]
"""Returns why a program is not ready; None if it is."""


class ProbeServer:
    """Answers probes of a load balancer, a supervisor or Prometheus."""

    def __init__(
        self, not_ready: NotReady, exposition: Callable[[], bytes], *, timeout: float = TIMEOUT
    ) -> None:
        """Create a server.

        Args:
            not_ready: returns why the program is not ready; None if it is.
            exposition: returns the metrics in Prometheus's text format.
            timeout: seconds that a connection may take.
        """
        self._not_ready = not_ready
        self._exposition = exposition
        self._timeout = timeout
        self._writers: set[asyncio.StreamWriter] = set()
        self._limited = LogLimiter(log)

    @asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serve on a bound socket inside the block."""
        server = await asyncio.start_server(self._connect, sock=listener, limit=MAX_HEAD)
        host, port = listener.getsockname()[:2]
        log.info("listening", host=host, port=port, paths="/health,/ready,/metrics")
        try:
            yield
        finally:
            server.close()
            for writer in self._writers:  # a scrape that hangs must not delay the program's end
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
            pass  # a client that is slow, or has gone: nothing is lost but its answer
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    def response_to(self, head: bytes) -> bytes:
        """Return the response to a request.

        Args:
            head: its request line and headers; empty if they are too long.
        """
        words = head.partition(b"\r\n")[0].split(b" ")
        if not head:
            return _response(431, "the request is too long")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response(400, "the request is not HTTP/1.1")
        method, target = words[0].decode("latin-1"), words[1].decode("latin-1")
        if method not in _METHODS:
            return _response(405, "the method must be GET or HEAD", more="Allow: GET, HEAD\r\n")
        try:
            response = self._answer(target.partition("?")[0].rstrip("/"))
        except Exception as error:  # noqa: BLE001 - a fault of a probe must not end the program
            self._limited.error(_FAILED, key=repr(error), exc_info=error)
            response = _response(500, _FAILED)
        return response if method == "GET" else response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"

    def _answer(self, path: str) -> bytes:
        match path:
            case "/health":
                return _response(200, {"status": "ok"})
            case "/ready":
                reason = self._not_ready()
                return _response(503 if reason else 200, {"ready": not reason, "reason": reason})
            case "/metrics":
                return _response(200, self._exposition(), kind=CONTENT_TYPE_LATEST)
        return _response(404, "the path must be /health, /ready or /metrics")


async def _head_from(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return b""


def _response(status: int, body: object, *, kind: str = _JSON, more: str = "") -> bytes:
    if isinstance(body, str):
        body = {"detail": body}
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {kind}\r\n{more}"
        f"Content-Length: {len(content)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + content
