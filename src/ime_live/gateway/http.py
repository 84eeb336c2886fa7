"""GatewayHttpProtocol: uvicorn's HTTP protocol with limits, and our streams behind its upgrades.

uvicorn parses requests and runs the ASGI app. What it leaves open is closed here: how large a
request's head may be and how long it may take. An upgrade request goes to a `StreamProtocol` as
it was parsed, without being written out and parsed again.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from websockets.datastructures import Headers
from websockets.http11 import Request

from ime_live.gateway.protocol import Services, StreamProtocol

SERVICES: Final = "ime_live.services"
"""The key under which the ASGI lifespan hands the process's `Services` to its protocols."""

_END_OF_HEAD: Final = b"\r\n\r\n"


class GatewayHttpProtocol(HttpToolsProtocol):
    """One HTTP connection; see the module's text."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **kwargs)
        self._services: Services = self.app_state[SERVICES]
        self._head_size = 0
        self._in_head = True
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(
            self._services.settings.handshake_timeout, self._too_late
        )

    def data_received(self, data: bytes) -> None:
        """Part of a request has come."""
        if self._in_head:
            limit = self._services.settings.max_request
            self._head_size += len(data)
            if self._head_size > limit and data.find(_END_OF_HEAD, 0, limit) < 0:
                self._refuse(431, f"The request line and headers exceed {limit} bytes.")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = True

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._in_head = False
        self._head_size = 0
        self._forget_deadline()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """It is whole; the next one may follow on this connection."""
        self._in_head = True
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """It asks for a stream."""
        self.connections.discard(self)
        headers = Headers()
        for name, value in self.headers:
            headers[name.decode("latin-1")] = value.decode("latin-1")
        request = Request(
            # Persian letters should come percent-encoded, but not every client knows that.
            self.url.decode("utf-8", "replace"),
            headers,
            self.scope["method"],
            f"HTTP/{self.scope['http_version']}",
        )
        stream = StreamProtocol(self._services, self.connections)
        self.transport.set_protocol(stream)
        stream.open(self.transport, request)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._forget_deadline()
        super().connection_lost(exc)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        self._refuse(408, "The request did not come in time.")

    def _refuse(self, status: int, text: str) -> None:
        body = text.encode()
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
            + b"content-length: %d\r\n\r\n" % len(body)
            + body
        )
        self.transport.close()
