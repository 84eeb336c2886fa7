"""Ending: what an exception of the WebSocket library says of how a connection ended.

Exceptions come in; the error to raise goes out, or None: reconnect; and a text for the log, which
holds no address, since that of a proxy may hold a password. It knows no connection.
"""

from __future__ import annotations

import ssl
from typing import Final

from websockets import exceptions as ends

from ime_live.client import verdict
from ime_live.errors import CloseCode, ImeLiveError, ServiceError

_OURS: Final = frozenset(
    {CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA, CloseCode.MESSAGE_TOO_BIG}
)


def fault_of(error: Exception) -> ImeLiveError | None:
    """The error to raise for a connection's end; None if reconnecting may help."""
    if isinstance(error, ends.ConnectionClosed):
        return _fault_of_close(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return ServiceError(f"the service's certificate is not good: {error.verify_message}")
    if isinstance(error, ends.InvalidStatus):
        return verdict.of_status(error.response.status_code)
    if isinstance(error, ends.InvalidProxyStatus):
        return verdict.of_proxy(error.response.status_code)
    if isinstance(error, ends.ProxyError | ends.InvalidMessage):
        return None  # the connection broke in the handshake, or a proxy is away or not itself
    if isinstance(error, ends.InvalidProxy | ValueError):
        return ServiceError("the address of the proxy or of the service cannot be used")
    if isinstance(error, ends.InvalidHandshake):
        return ServiceError(f"the service does not speak WebSocket: {error}")
    return None


def _fault_of_close(error: ends.ConnectionClosed) -> ImeLiveError | None:
    if error.rcvd is not None and error.rcvd_then_sent is not False:
        return verdict.of_close(error.rcvd.code, error.rcvd.reason)
    if error.sent is not None and error.sent.code in _OURS:
        return ServiceError(f"the service broke the protocol: {error.sent.reason}")
    return None


def text_of(error: Exception) -> str:
    """How a connection ended, for a line of the log."""
    if isinstance(error, ends.ConnectionClosed):
        end = error.rcvd or error.sent
        return f"the connection was closed: {end.code} {end.reason}" if end else "connection lost"
    if isinstance(error, TimeoutError):
        return "no connection: the service does not answer"
    if isinstance(error, OSError | ends.WebSocketException):
        return f"no connection: {error}"
    return str(error)
