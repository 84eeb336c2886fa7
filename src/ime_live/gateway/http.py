"""GatewayHttpProtocol: uvicorn's HTTP protocol with limits, and our streams behind it.

uvicorn parses requests and runs the ASGI app. What it leaves open is closed here: how large a
request's head may be and how long it may take. An upgrade request goes to a `StreamProtocol` as
it was parsed, without being written out and parsed again; one for events goes to an `EventStream`.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from websockets.datastructures import Headers
from websockets.http11 import Request

from ime_live.gateway.connection import CLOSE_TIMEOUT
from ime_live.gateway.events import EventStream
from ime_live.gateway.protocol import StreamProtocol
from ime_live.gateway.services import Services
from ime_live.gateway.session import EVENTS_ROOT, By, endpoint_of

SERVICES: Final = "ime_live.services"
"""The key under which the ASGI lifespan hands the process's `Services` to its protocols."""

_END_OF_HEAD: Final = b"\r\n\r\n"
_NOT_ASCII: Final = re.compile(rb"[\x80-\xff]")


class GatewayHttpProtocol(HttpToolsProtocol):
    """One HTTP connection; see the module's text."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*args, **kwargs)
        self._services: Services = self.app_state[SERVICES]
        self._head_size = 0
        self._in_head = True
        self._is_upgrade = False
        self._events: tuple[By, Request] | None = None
        """What is asked for, if it is a stream of events."""
        self._refused = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._set_deadline()

    def data_received(self, data: bytes) -> None:
        """Part of a request has come."""
        if self._refused:
            return
        if self._in_head:
            limit = self._services.settings.max_request
            end = data.find(_END_OF_HEAD)
            self._head_size += len(data) if end < 0 else end + len(_END_OF_HEAD)
            if self._head_size > limit:
                self._refuse(431, f"The request line and headers exceed {limit} bytes.")
                return
            if not data.isascii():
                data = _quoted(data)
        super().data_received(data)
        if self._events is not None:
            self._open_events(*self._events)

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._events is not None:
            return
        super().on_message_begin()
        self._in_head = True
        if self._deadline is None:
            self._set_deadline()

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        if self._events is not None:
            return
        self._in_head = False
        self._head_size = 0
        self._is_upgrade = super()._should_upgrade()
        self._events = self._asked_for_events()
        if self._events is None:
            super().on_headers_complete()

    def _should_upgrade(self) -> bool:
        # uvicorn asks three times a request and looks through all headers each time.
        return self._is_upgrade

    def _asked_for_events(self) -> tuple[By, Request] | None:
        if EVENTS_ROOT.encode() not in self.url or self.parser.get_method() != b"GET":
            return None
        if self.cycle is not None and not self.cycle.response_complete:
            return None  # the answer to another request is still on its way; the app says so
        path = self.url.partition(b"?")[0].decode("ascii")
        by = endpoint_of(path, self._services.settings.root_path, EVENTS_ROOT)
        return None if by is None else (by, self._request("GET"))

    def _request(self, method: str) -> Request:
        headers = Headers()
        for name, value in self.headers:
            headers[name.decode("latin-1")] = value.decode("latin-1")
        return Request(
            self.url.decode("ascii"), headers, method, f"HTTP/{self.parser.get_http_version()}"
        )

    def _open_events(self, by: By, request: Request) -> None:
        self._forget_deadline()
        self.connections.discard(self)
        headers = self.server_state.default_headers
        stream = EventStream(self._services, self.connections, headers)
        self.transport.set_protocol(stream)
        stream.open(self.transport, by, request)

    def on_body(self, body: bytes) -> None:
        """Part of a body, which nobody reads, has come."""
        if self._events is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """It is whole; the next one may follow on this connection."""
        if self._events is not None:
            return
        self._in_head = True
        self._forget_deadline()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """It asks for a stream."""
        self._forget_deadline()
        self.connections.discard(self)
        stream = StreamProtocol(self._services, self.connections)
        self.transport.set_protocol(stream)
        stream.open(self.transport, self._request(self.scope["method"]))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._forget_deadline()
        super().connection_lost(exc)

    def _set_deadline(self) -> None:
        self._deadline = self.loop.call_later(
            self._services.settings.handshake_timeout, self._too_late
        )

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self) -> None:
        if self._in_head:
            self._refuse(408, "The request did not come in time.")
        else:  # it is answered; only a body still comes, which nobody reads
            self.transport.close()

    def _refuse(self, status: int, text: str) -> None:
        self._refused = True
        self._forget_deadline()
        body = text.encode()
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
            + b"content-length: %d\r\n\r\n" % len(body)
            + body
        )
        # Only our half: to close at once, with data unread, would reset the connection, and a
        # client that is still sending would not get to see the answer.
        self.transport.write_eof()
        self._deadline = self.loop.call_later(CLOSE_TIMEOUT, self.transport.abort)


def _quoted(data: bytes) -> bytes:
    """Percent-encode the request line at the beginning of ``data``.

    Persian letters should come percent-encoded, but not every client knows that, and the parser
    insists on it.
    """
    line, end, rest = data.partition(b"\n")
    return _NOT_ASCII.sub(lambda found: b"%%%02X" % found[0][0], line) + end + rest
