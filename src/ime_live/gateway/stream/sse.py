"""Serve a stream of server-sent events on a transport (HTML Standard, 9.2).

It answers a plain GET with the same messages as a WebSocket, each as an event whose id is the
message's timestamp. The response has no length and ends with the connection. So an event has no
bytes that belong to one connection, and its bytes are made once for all clients.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, MutableSet
from http import HTTPStatus
from typing import Any, Final

import msgspec

from ime_live.errors import CloseCode, RefusedError
from ime_live.gateway.auth.authenticator import find_token
from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.http_errors import headers_of, status_of
from ime_live.gateway.query.stream_query import StreamRequest, read_since
from ime_live.gateway.stream.connection import Connection
from ime_live.gateway.stream.context import GatewayContext
from ime_live.gateway.stream.lingering import read_slowly
from ime_live.gateway.stream.request_head import RequestHead

_encode = msgspec.json.Encoder().encode

_END: Final = b"end"
"""Name of the event that says why a stream ends; no message of a contract has it."""

# Milliseconds after which a browser reconnects: random, so that they do not all come at once.
_RETRY: Final = (1_000, 4_000)

_HEAD: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    # Proxies such as nginx would hold events back until there are many.
    "X-Accel-Buffering": "no",
}


class EventStream(Connection):
    """One stream of server-sent events."""

    __slots__ = ("_by", "_fields", "_is_reader")

    def __init__(
        self,
        context: GatewayContext,
        connections: MutableSet[Any],
        by: By,
        fields: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """Make a stream without a transport; see `Connection`.

        Args:
            context: the parts of the process that a stream uses.
            connections: all connections of the process.
            by: the endpoint of the request.
            fields: header fields that every response of the process carries.
        """
        super().__init__(context, connections)
        self._by = by
        self._fields = fields
        self._is_reader = False
        """Whether the client says that it reads events, as browsers do."""

    def open(self, transport: asyncio.Transport, head: RequestHead, rest: bytes) -> None:
        """Take over ``transport``; see `Connection`. No bytes may follow the request."""
        del rest
        self._take(transport)
        shared = self._context.cors.headers(head.fields.get(b"origin"))
        self._fields = [*self._fields, *shared]
        self._is_reader = "text/event-stream" in (head.field(b"accept") or "")
        self._about["over"] = "events"
        self._start(lambda: self._read(head))

    def _read(self, head: RequestHead) -> tuple[StreamRequest, str | None]:
        zone = self._context.zone
        request = self._read_query(self._by, head)
        if last := head.field(b"last-event-id"):
            try:
                # A browser has one id for all contracts. A state of another contract that it was
                # not sent may be older by another server's clock, or have been on its way.
                newer_than = max(0, read_since(last, zone) - self._context.event_overlap)
            except RefusedError:
                # If it were refused, a page would give up for ever, so it gets all states.
                newer_than = 0
            request = msgspec.structs.replace(request, newer_than=newer_than)
        return request, find_token(head.field(b"authorization"), (), request.token)

    def _accept(self) -> None:
        first = b"retry: %d\n" % random.randint(*_RETRY)  # noqa: S311 - spreads, keeps no secret
        self._transport.write(self._head(200, _HEAD.items()) + first)

    def _refuse(self, refusal: RefusedError) -> None:
        self._ended(int(refusal.code), refusal.kind)
        if self._is_reader and status_of(refusal) >= 500:
            # A browser gives up for ever at any status but 200; this refusal may be temporary.
            self._accept()
            self._say_goodbye(refusal)
            return
        body = _encode({"detail": refusal.reason})
        fields = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **headers_of(refusal),
        }
        self._transport.write(self._head(status_of(refusal), fields.items()) + body)
        self._linger()

    def _head(self, status: int, fields: Iterable[tuple[str, str]]) -> bytes:
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in fields]
        lines += [f"{n.decode('latin-1')}: {v.decode('latin-1')}" for n, v in self._fields]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    @property
    def _wrapping(self) -> wire.Format:
        return wire.Format.EVENT

    def data_received(self, data: bytes) -> None:
        """Discard what the client sends: nothing is expected after its request."""
        del data
        read_slowly(self._transport, self._context.loop)

    def eof_received(self) -> bool:
        """Keep the connection until the stream is opened or refused, so that it is answered."""
        self._eof = True
        return self._opening is not None

    def ping(self) -> None:
        """Write a comment. No answer is expected: the TCP user timeout ends a dead connection."""
        self._context.heartbeat.answered(self)
        self._transport.write(wire.COMMENT)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the hub; the connection is gone, which is how clients leave."""
        if exc is None and self._outcome is None and self._subscription.subscriber is not None:
            self._ended(CloseCode.NORMAL, "client left")
        super().connection_lost(exc)

    def _say_goodbye(self, refusal: RefusedError) -> None:
        text = _encode({"code": int(refusal.code), "reason": refusal.reason})
        self._transport.write(wire.event(text, name=_END))
        self._linger()
