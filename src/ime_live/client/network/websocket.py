"""Connect with the WebSocket library, and map its exceptions to a `CloseReason`.

A token is sent to the program's address only: redirects are not followed, and the library's log
lines about headers are dropped. No reason quotes the address of a proxy, which may contain a
password.
"""

from __future__ import annotations

import logging
import ssl as tls
from typing import Any, Final

from websockets import exceptions as ends
from websockets.asyncio import client as library

from ime_live.client.network.faults import reason_of_os_error, wrong_scheme
from ime_live.client.network.proxy import Proxy, proxy_for
from ime_live.client.protocol.address import Service
from ime_live.client.protocol.close_reason import (
    CloseReason,
    error_of_close,
    error_of_proxy,
    error_of_status,
    is_of_address,
)
from ime_live.errors import CloseCode, ServiceError

# The library logs the handshake's headers, and so the token, at the level DEBUG.
library_log = logging.getLogger("ime_live.client.websockets")
library_log.setLevel(logging.INFO)
library_log.addFilter(lambda record: record.levelno > logging.DEBUG)

_PROTOCOL_ERRORS: Final = frozenset({CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA})

_SCHEME_TIMEOUT: Final = 3.0  # seconds, unless the program allows less for connecting


class _ProxyConnection(library.HTTPProxyConnection):
    """The library's connection to an HTTP proxy, which may end twice.

    If a proxy closes without an answer, the library learns it from the end of the data. At the end
    of the connection it reports the end once more, and its reader raises EOFError into the event
    loop, which logs a traceback (websockets 15 to 17). By then the answer, or its lack, is known.
    If the program closes the stream before, nothing awaits the answer.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - as the library's
        """Create the connection as the library does; an unused answer is not an error."""
        super().__init__(*arguments, **options)
        self.response.add_done_callback(lambda answer: answer.cancelled() or answer.exception())

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of the connection, unless the end of the data was handled before."""
        if not self.response.done():
            super().connection_lost(exc)


# The library has no argument for it; see docs/decisions/0010-client-library.md.
library.HTTPProxyConnection = _ProxyConnection  # type: ignore[misc] # of the same interface


class Connect(library.connect):
    """The library's connect, without following redirects."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Treat a redirect as an error."""
        return exc


async def check_scheme(
    service: Service,
    proxy: Proxy,
    reason: CloseReason,
    address: str,
    *,
    open_timeout: float,
) -> CloseReason:
    """Check whether an unanswered service was addressed with the wrong scheme.

    It connects once more with the other scheme and without a token.

    Args:
        service: address of the service.
        proxy: URL of a proxy; True reads it from the environment, None uses none.
        reason: the reason so far.
        address: address of the service, for messages.
        open_timeout: seconds for connecting.

    Returns:
        A reason that names the wrong scheme; else ``reason``.
    """
    if not reason.unclear:
        return reason
    host = f"[{service.host}]" if ":" in service.host else service.host
    other = Service(not service.secure, f"{host}:{service.port}", "")
    secure: dict[str, Any] = {}
    if other.secure:
        context = tls.create_default_context()
        context.check_hostname, context.verify_mode = False, tls.CERT_NONE
        secure = {"ssl": context}
    try:
        async with Connect(
            other.named("ws", "/"),
            proxy=proxy_for(proxy, service, "ws"),
            open_timeout=min(open_timeout, _SCHEME_TIMEOUT),
            close_timeout=0,
            logger=library_log,
            **secure,
        ):
            pass
    except ends.InvalidStatus as answer:
        # A port for TLS may say so in plain HTTP, with a 400.
        if not other.secure and answer.response.status_code == 400:
            return reason
    except (OSError, ends.WebSocketException):
        return reason
    return wrong_scheme(address, secure=service.secure)


def reason_of_websocket_error(error: Exception, address: str) -> CloseReason:
    """Explain the end of a WebSocket connection, or of the attempt to make one.

    Args:
        error: exception of the library.
        address: address of the service, for messages.
    """
    if isinstance(error, ends.ConnectionClosed):
        return _reason_of_close(error)
    if isinstance(error, OSError):
        return reason_of_os_error(error, address)
    if isinstance(error, ends.InvalidStatus):
        response = error.response
        location = next(iter(response.headers.get_all("Location")), None)
        return _reason_of_status(response.status_code, location, address)
    if isinstance(error, ends.InvalidProxyStatus):
        status = error.response.status_code
        text = f"the proxy refused with HTTP {status}"
        return CloseReason(text, error_of_proxy(status), early=True)
    if isinstance(error, ends.ProxyError):
        return CloseReason("the proxy closed the connection, or is not a proxy")
    if isinstance(error, ends.InvalidMessage):
        return CloseReason(
            "the connection ended in the handshake, before an HTTP answer", unclear=True
        )
    if isinstance(error, ends.InvalidProxy | ValueError):
        return CloseReason.final("the address of the proxy or of the service cannot be used")
    if isinstance(error, ends.InvalidHandshake):
        return CloseReason.of_address(
            f"{address} must speak WebSocket, but: {error}; look at host, port and path"
        )
    return CloseReason(str(error))


def _reason_of_close(error: ends.ConnectionClosed) -> CloseReason:
    if error.rcvd is not None and error.rcvd_then_sent is not False:
        code, reason = error.rcvd.code, error.rcvd.reason
        return CloseReason(f"closed with {code} {reason}".rstrip(), error_of_close(code, reason))
    if error.sent is None:
        return CloseReason("connection lost")
    code, reason = error.sent.code, error.sent.reason
    if code in _PROTOCOL_ERRORS:
        return CloseReason(
            reason, ServiceError(f"the service must keep to RFC 6455, but: {reason}")
        )
    if code == CloseCode.MESSAGE_TOO_BIG:
        # Reconnecting at once would not help: the state that is too large comes first again.
        return CloseReason(f"the service sent a message that is too large: {reason}")
    return CloseReason(f"closed with {code} {reason}".rstrip())


def _reason_of_status(status: int, location: str | None, address: str) -> CloseReason:
    error = error_of_status(status, address, location)
    reason = f"HTTP {status}" if error is None else str(error)
    return CloseReason(reason, error, early=is_of_address(status), unclear=status == 400)
