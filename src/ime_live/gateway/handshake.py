"""The WebSocket handshake: what is negotiated, in the terms of the `websockets` library.

A request comes in, an answer and the agreed extensions go out. It knows no connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

SUBPROTOCOL: Final = Subprotocol("ime-live")

_DEFLATE: Final = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True, client_no_context_takeover=True
)


def negotiator(*, compression: bool) -> ServerProtocol:
    """What accepts or rejects the handshakes of a process.

    `ServerProtocol.accept` only reads the request and makes the response and the extensions, so
    one object serves all connections, one after the other; making one for each took 8 µs more.
    """
    return ServerProtocol(
        extensions=[_DEFLATE] if compression else None, select_subprotocol=_select_subprotocol
    )


def _select_subprotocol(
    protocol: ServerProtocol, offered: Sequence[Subprotocol]
) -> Subprotocol | None:
    # The token travels as another subprotocol and is not to be echoed.
    del protocol
    return SUBPROTOCOL if SUBPROTOCOL in offered else None


def deflate_of(handshake: ServerProtocol) -> PerMessageDeflate | None:
    """The compression that the last handshake agreed on, if any."""
    for extension in handshake.extensions:
        if isinstance(extension, PerMessageDeflate):
            return extension
    return None
