"""Negotiate WebSocket handshakes (RFC 6455, 4.2): acceptance, compression and subprotocol."""

from __future__ import annotations

from collections.abc import Sequence
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

from ime_live.gateway.stream.request_head import RequestHead

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


class Handshake(NamedTuple):
    """The result of a handshake.

    Attributes:
        accepted: whether the handshake is valid.
        response: the complete one.
        deflate: the negotiated compression, if any.
    """

    accepted: bool
    response: bytes
    deflate: PerMessageDeflate | None = None


class Negotiator:
    """Accepts or rejects the handshakes of a process.

    `ServerProtocol.accept` only reads the request and makes the response and the extensions, so
    one object serves all connections in turn; making one for each took 8 µs more.
    """

    def __init__(self, *, compression: bool) -> None:
        """Make a negotiator.

        Args:
            compression: whether to agree on permessage-deflate if a client offers it.
        """
        self._server = ServerProtocol(
            extensions=[_DEFLATE] if compression else None, select_subprotocol=_select_subprotocol
        )

    def negotiate(self, head: RequestHead) -> Handshake:
        """Answer a request whose `RequestHead.is_handshake` is true."""
        # `is_handshake` has checked these two lists; their other elements do not matter.
        headers = Headers(Connection="Upgrade", Upgrade="websocket")
        for name in _NEGOTIATED:
            value = head.field(name.lower().encode())
            if value is not None:
                headers[name] = value
        response = self._server.accept(Request(head.path, headers, head.method, "HTTP/1.1"))
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            for extension in self._server.extensions:
                if isinstance(extension, PerMessageDeflate):
                    return Handshake(True, response.serialize(), extension)
            return Handshake(True, response.serialize())
        if headers.get("Sec-WebSocket-Version") != _VERSION:
            response.headers["Sec-WebSocket-Version"] = _VERSION
        return Handshake(False, response.serialize())

    def reject(self, status: int, text: str) -> bytes:
        """Return the response that refuses a handshake."""
        return self._server.reject(status, text).serialize()


def _select_subprotocol(
    protocol: ServerProtocol, offered: Sequence[Subprotocol]
) -> Subprotocol | None:
    # The token travels as another subprotocol and must not be echoed.
    del protocol
    return SUBPROTOCOL if SUBPROTOCOL in offered else None
