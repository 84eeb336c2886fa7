"""Handshakes: how the WebSocket library is used, and what a port speaks that answers none.

A token goes where the program has sent it, and nowhere else: no redirect is followed, and nothing
is logged that the library would write of the headers.
"""

from __future__ import annotations

import logging
import ssl as tls
from typing import Any, Final

from websockets import exceptions as ends
from websockets.asyncio.client import connect

from ime_live.client.address import Service
from ime_live.client.network import Ending, wrong_scheme
from ime_live.client.proxy import Proxy, proxy_for

# The library would write the handshake's headers at the level DEBUG, and so the token.
library_log = logging.getLogger("ime_live.client.websockets")
library_log.setLevel(logging.INFO)
library_log.addFilter(lambda record: record.levelno > logging.DEBUG)

_LOOK: Final = 3.0  # seconds, if not less is given for connecting


class Connect(connect):
    """Connects without following redirects."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """See the class."""
        return exc


async def look_closer(
    service: Service,
    proxy: Proxy,
    ending: Ending,
    address: str,
    *,
    open_timeout: float,
) -> Ending:
    """Find out whether a place that gave no answer is spoken to with the wrong scheme.

    It is connected to once more, the other way and without a token.

    Args:
        service: the place.
        proxy: a proxy's URL; True takes it from the environment, None uses none.
        ending: what is known so far.
        address: the place, for people.
        open_timeout: seconds for connecting at the most.

    Returns:
        What is known by now.
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
