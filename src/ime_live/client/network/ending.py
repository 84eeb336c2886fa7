"""Map exceptions of the WebSocket library to an `Ending`.

Its reason never quotes the address of a proxy, which may contain a password.
"""

from __future__ import annotations

from typing import Final

from websockets import exceptions as ends

from ime_live.client.network.faults import Ending, early, final, of_network
from ime_live.client.protocol import close_reason
from ime_live.errors import CloseCode, ServiceError

_OURS: Final = frozenset({CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA})


def of_websocket(error: Exception, address: str) -> Ending:
    """Explain the end of a WebSocket connection, or of the attempt to make one.

    Args:
        error: exception of the library.
        address: address of the service, for messages.
    """
    if isinstance(error, ends.ConnectionClosed):
        return _of_close(error)
    if isinstance(error, OSError):
        return of_network(error, address)
    if isinstance(error, ends.InvalidStatus):
        response = error.response
        location = next(iter(response.headers.get_all("Location")), None)
        return _of_status(response.status_code, location, address)
    if isinstance(error, ends.InvalidProxyStatus):
        status = error.response.status_code
        text = f"the proxy refused with HTTP {status}"
        return Ending(text, close_reason.of_proxy(status), early=True)
    if isinstance(error, ends.ProxyError):
        return Ending("the proxy closed the connection, or is not a proxy")
    if isinstance(error, ends.InvalidMessage):
        return Ending("the connection ended in the handshake, before an HTTP answer", unclear=True)
    if isinstance(error, ends.InvalidProxy | ValueError):
        return final("the address of the proxy or of the service cannot be used")
    if isinstance(error, ends.InvalidHandshake):
        return early(f"{address} must speak WebSocket, but: {error}; look at host, port and path")
    return Ending(str(error))


def _of_close(error: ends.ConnectionClosed) -> Ending:
    if error.rcvd is not None and error.rcvd_then_sent is not False:
        code, reason = error.rcvd.code, error.rcvd.reason
        return Ending(f"closed with {code} {reason}".rstrip(), close_reason.of_close(code, reason))
    if error.sent is None:
        return Ending("connection lost")
    code, reason = error.sent.code, error.sent.reason
    if code in _OURS:
        return Ending(reason, ServiceError(f"the service broke the protocol: {reason}"))
    if code == CloseCode.MESSAGE_TOO_BIG:
        # Reconnecting at once would not help: the state that is too large comes first again.
        return Ending(f"the service sent a message that is too large: {reason}")
    return Ending(f"closed with {code} {reason}".rstrip())


def _of_status(status: int, location: str | None, address: str) -> Ending:
    error = close_reason.of_status(status, address, location)
    reason = f"HTTP {status}" if error is None else str(error)
    return Ending(reason, error, early=close_reason.is_of_address(status), unclear=status == 400)
