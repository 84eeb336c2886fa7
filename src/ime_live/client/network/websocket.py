"""WebSocket handshakes, and how to recognize a port that speaks another protocol.

A token is sent to the program's address only: redirects are not followed, and the library's log
lines about headers are dropped.
"""

from __future__ import annotations

import logging
import ssl as tls
from typing import Any, Final

from websockets import exceptions as ends
from websockets.asyncio.client import connect

from ime_live.client.network.faults import Ending, wrong_scheme
from ime_live.client.network.proxy import Proxy, proxy_for
from ime_live.client.protocol.address import Service

# The library logs the handshake's headers, and so the token, at the level DEBUG.
library_log = logging.getLogger("ime_live.client.websockets")
library_log.setLevel(logging.INFO)
library_log.addFilter(lambda record: record.levelno > logging.DEBUG)

_LOOK: Final = 3.0  # seconds, unless the program allows less for connecting


class Connect(connect):
    """The library's connect, without following redirects."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Treat a redirect as an error."""
        return exc


async def look_closer(
    service: Service,
    proxy: Proxy,
    ending: Ending,
    address: str,
    *,
    open_timeout: float,
) -> Ending:
    """Find out whether a service without an answer is addressed with the wrong scheme.

    It connects once more with the other scheme and without a token.

    Args:
        service: address of the service.
        proxy: URL of a proxy; True reads it from the environment, None uses none.
        ending: the ending so far.
        address: address of the service, for messages.
        open_timeout: seconds for connecting.

    Returns:
        An ending that names the wrong scheme; else ``ending``.
    """
    if not ending.unclear:
        return ending
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
            open_timeout=min(open_timeout, _LOOK),
            close_timeout=0,
            logger=library_log,
            **secure,
        ):
            pass
    except ends.InvalidStatus as answer:
        # A port for TLS may say so in plain HTTP, with a 400.
        if not other.secure and answer.response.status_code == 400:
            return ending
    except (OSError, ends.WebSocketException):
        return ending
    return wrong_scheme(address, secure=service.secure)
