"""Codec of server-sent events (HTML Standard, 9.2): the response, keep-alives and the end.

The response to a plain GET has the same messages as a WebSocket, each in an event whose id is the
message's timestamp. The response has no length and ends with the connection. So the bytes of an
event are the same for all connections, and are made once.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import ClassVar, Final

import msgspec

from ime_live.errors import LimitError, RefusedError
from ime_live.gateway.auth.authenticator import find_token
from ime_live.gateway.http.request_head import RequestHead
from ime_live.gateway.hub import frames as wire
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.http_errors import headers_of, status_of
from ime_live.gateway.query.stream_query import StreamRequest, read_since
from ime_live.gateway.stream.codec import RunningStream
from ime_live.gateway.stream.context import GatewayContext

_encode = msgspec.json.Encoder().encode

_END: Final = b"end"
"""Name of the last event, which has the reason of the end. Events of contracts have no name."""

# Milliseconds after which a browser reconnects; random, so that browsers do not reconnect at once.
_RETRY: Final = (1_000, 4_000)

_HEAD: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    # Proxies such as nginx would buffer events.
    "X-Accel-Buffering": "no",
}


class EventCodec:
    """Codec of one stream of server-sent events."""

    __slots__ = ("_context", "_fields", "_is_reader", "by")

    one_way: ClassVar = True
    log_fields: ClassVar[Mapping[str, object]] = {"over": "events"}

    def __init__(
        self, context: GatewayContext, by: By, fields: Iterable[tuple[bytes, bytes]] = ()
    ) -> None:
        """Create the codec of a new stream.

        Args:
            context: the gateway context, for settings.
            by: whether the request names contracts by name or by id.
            fields: header fields of every response of the process.
        """
        self._context = context
        self.by = by
        self._fields = fields
        self._is_reader = False
        """Whether the request accepts events, as that of a browser does."""

    def negotiate(self, head: RequestHead) -> bytes:
        """Read the head of the request; no request is rejected here."""
        shared = self._context.cors.headers(head.fields.get(b"origin"))
        self._fields = [*self._fields, *shared]
        self._is_reader = "text/event-stream" in (head.field(b"accept") or "")
        return b""

    def complete(
        self, request: StreamRequest, head: RequestHead
    ) -> tuple[StreamRequest, str | None]:
        """Return the request, which resumes after the ``Last-Event-ID``, and the token."""
        zone = self._context.zone
        if last := head.field(b"last-event-id"):
            try:
                # A browser has one id for all contracts. A state of another contract that was not
                # sent yet may have an older version, by another server's clock.
                newer_than = max(0, read_since(last, zone) - self._context.event_overlap)
            except RefusedError:
                # After a refusal a browser would stop reconnecting, so all states are sent.
                newer_than = 0
            request = msgspec.structs.replace(request, newer_than=newer_than)
        return request, find_token(head.field(b"authorization"), (), request.token)

    @property
    def format(self) -> wire.Format:
        """Format of the messages."""
        return wire.Format.EVENT

    def accept(self) -> bytes:
        """Return the head of the response, and the time after which to reconnect."""
        first = b"retry: %d\n" % random.randint(*_RETRY)  # noqa: S311 - spreads, keeps no secret
        return self._head(200, _HEAD.items()) + first

    def refuse(self, refusal: RefusedError) -> bytes:
        """Return the response to a request that is refused: an HTTP status, or an event."""
        limit = refusal if isinstance(refusal, LimitError) else None
        if self._is_reader and (limit is not None or status_of(refusal) >= 500):
            # A browser stops reconnecting at any status but 200; this refusal may be temporary.
            retry = b"" if limit is None else b"retry: %d\n" % math.ceil(limit.retry_after * 1000)
            return self.accept() + retry + self.end_message(refusal)
        body = _encode({"detail": refusal.reason})
        fields = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **headers_of(refusal),
        }
        return self._head(status_of(refusal), fields.items()) + body

    def _head(self, status: int, fields: Iterable[tuple[str, str]]) -> bytes:
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in fields]
        lines += [f"{n.decode('latin-1')}: {v.decode('latin-1')}" for n, v in self._fields]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def end_message(self, refusal: RefusedError) -> bytes:
        """Return the last event, with the reason of the end."""
        text = _encode({"code": int(refusal.code), "reason": refusal.reason})
        return wire.event(text, name=_END)

    def ping(self) -> bytes:
        """Return a comment, which no client answers."""
        return wire.COMMENT

    def response_sent(self, stream: RunningStream) -> None:
        """Do nothing: no data was kept."""

    def receive(self, data: bytes, stream: RunningStream) -> None:
        """Discard data from the client, which must send nothing after its request."""
        del data
        stream.read_slowly()

    def close(self) -> None:
        """Do nothing: no data was kept."""
