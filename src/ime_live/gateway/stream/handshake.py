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
"""Characters of an offer that is kept. Those of browsers and libraries have 20 to 80."""

# Offers of other subprotocols are not kept: they may be tokens.
_KEPT: Final = (None, SUBPROTOCOL.encode())

# RFC 6455, 4.1: 16 bytes in Base64.
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")

_Offer = tuple[str | bytes | None, ...]


class Handshake(NamedTuple):
    """The result of a handshake.

    Attributes:
        accepted: whether the handshake is valid.
        response: the complete one.
        deflate: the negotiated compression, if any. All connections that agree on the same share
            this object, so it must not be used to read frames.
    """

    accepted: bool
    response: bytes
    deflate: PerMessageDeflate | None = None


class _Agreement(NamedTuple):
    """The result of all handshakes with one offer: only the accepted key differs."""

    before: bytes
    after: bytes
    deflate: PerMessageDeflate | None


class Negotiator:
    """Accepts or rejects the handshakes of a process.

    `ServerProtocol.accept` only reads the request and makes the response and the extensions, so
    one object serves all connections in turn; making one for each took 8 µs more. It is asked once
    per offer of extensions and subprotocols, because clients of one kind offer the same: another
    handshake with that offer takes a tenth of the time.
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
        answer = b"%b%b%b" % (agreement.before, accepted, agreement.after)
        return Handshake(True, answer, agreement.deflate)

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
        # It is optional in this response (RFC 9110, 6.6.1), and would be wrong a second later.
        del response.headers["Date"]
        answer = response.serialize()
        found = (each for each in self._server.extensions if isinstance(each, PerMessageDeflate))
        deflate = next(found, None)
        size = sum(len(each) for each in offer if each is not None)
        bounded = len(self._agreements) < _MAX_AGREEMENTS and size <= _MAX_OFFER
        if bounded and offer[-1] in _KEPT:
            before, _, after = answer.partition(accept_key(headers["Sec-WebSocket-Key"]).encode())
            self._agreements[offer] = _Agreement(before, after, deflate)
        return Handshake(True, answer, deflate)

    def reject(self, status: int, text: str, fields: Mapping[str, str] | None = None) -> bytes:
        """Return the response that refuses a handshake, with further header ``fields``."""
        response = self._server.reject(status, text)
        for name, value in (fields or {}).items():
            response.headers[name] = value
        return response.serialize()


def _select_subprotocol(
    protocol: ServerProtocol, offered: Sequence[Subprotocol]
) -> Subprotocol | None:
    # The token travels as another subprotocol and must not be echoed.
    del protocol
    return SUBPROTOCOL if SUBPROTOCOL in offered else None
