"""Negotiate WebSocket handshakes (RFC 6455, 4.2): acceptance, compression and subprotocol."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple

from websockets.datastructures import Headers
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.utils import accept_key

from ime_live.gateway.http.request_head import RequestHead

SUBPROTOCOL: Final = Subprotocol("ime-live")

_VERSION: Final = "13"

_DEFLATE: Final = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True, client_no_context_takeover=True
)

# The header fields of a request that take part in the handshake.
_NEGOTIATED: Final = (
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Protocol",
)
_OFFER: Final = tuple(name.lower().encode() for name in _NEGOTIATED[1:])

_MAX_AGREEMENTS: Final = 64

_MAX_OFFER: Final = 256
"""Longest offer that is cached, in bytes. Those of browsers and libraries have 20 to 80."""

# Offers of other subprotocols are not cached, because they may be tokens.
_CACHED_SUBPROTOCOLS: Final = (None, SUBPROTOCOL.encode())

# RFC 6455, 4.1: 16 bytes in Base64.
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")

_Offer = tuple[str | bytes | None, ...]


class Handshake(NamedTuple):
    """The result of a handshake.

    Attributes:
        accepted: whether the handshake is valid.
        response: the complete response.
        deflate: the negotiated compression; None without one. Connections with equal parameters
            share this object, so it must not be used to read frames.
    """

    accepted: bool
    response: bytes
    deflate: PerMessageDeflate | None = None


class _Agreement(NamedTuple):
    """The result of all handshakes with one offer: the response before and after the key."""

    before: bytes
    after: bytes
    deflate: PerMessageDeflate | None


class Negotiator:
    """Accepts or rejects the handshakes of a process.

    `ServerProtocol.accept` only reads the request and makes the response and the extensions, so
    all connections share one object; one object per connection took 8 µs more. It is called once
    per offer of extensions and subprotocols, because clients of the same kind make the same offer.
    The result is cached, so the next handshake with this offer takes a tenth of the time.
    """

    def __init__(self, *, compression: bool) -> None:
        """Make a negotiator.

        Args:
            compression: whether to agree on permessage-deflate if a client offers it.
        """
        self._server = ServerProtocol(
            extensions=[_DEFLATE] if compression else None, select_subprotocol=_select_subprotocol
        )
        self._agreements: dict[_Offer, _Agreement] = {}

    def negotiate(self, head: RequestHead) -> Handshake:
        """Answer a request whose `RequestHead.is_handshake` is true."""
        key = head.fields.get(b"sec-websocket-key", b"")
        offer = (head.method, *map(head.fields.get, _OFFER))
        agreement = self._agreements.get(offer)
        if agreement is None or _KEY.fullmatch(key) is None:
            return self._negotiate(head, offer)
        accepted = accept_key(key.decode()).encode()
        response = b"%b%b%b" % (agreement.before, accepted, agreement.after)
        return Handshake(True, response, agreement.deflate)

    def _negotiate(self, head: RequestHead, offer: _Offer) -> Handshake:
        # `is_handshake` has checked these two lists; their other elements do not matter.
        headers = Headers(Connection="Upgrade", Upgrade="websocket")
        for name in _NEGOTIATED:
            value = head.field(name.lower().encode())
            if value is not None:
                headers[name] = value
        response = self._server.accept(Request(head.path, headers, head.method, "HTTP/1.1"))
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            if headers.get("Sec-WebSocket-Version") != _VERSION:
                response.headers["Sec-WebSocket-Version"] = _VERSION
            return Handshake(False, response.serialize())
        # It is optional in this response (RFC 9110, 6.6.1), and would be wrong in the cache.
        del response.headers["Date"]
        serialized = response.serialize()
        deflate = next(
            (each for each in self._server.extensions if isinstance(each, PerMessageDeflate)), None
        )
        size = sum(len(field) for field in offer if field is not None)
        has_room = len(self._agreements) < _MAX_AGREEMENTS and size <= _MAX_OFFER
        if has_room and offer[-1] in _CACHED_SUBPROTOCOLS:
            key = accept_key(headers["Sec-WebSocket-Key"]).encode()
            before, _, after = serialized.partition(key)
            self._agreements[offer] = _Agreement(before, after, deflate)
        return Handshake(True, serialized, deflate)

    def reject(self, status: int, text: str, fields: Mapping[str, str] | None = None) -> bytes:
        """Return the response that rejects a handshake.

        Args:
            status: HTTP status.
            text: body of the response.
            fields: additional header fields.
        """
        response = self._server.reject(status, text)
        for name, value in (fields or {}).items():
            response.headers[name] = value
        return response.serialize()


def _select_subprotocol(
    protocol: ServerProtocol, offered: Sequence[Subprotocol]
) -> Subprotocol | None:
    # A client may send its token as another subprotocol, which must not be echoed.
    del protocol
    return SUBPROTOCOL if SUBPROTOCOL in offered else None
