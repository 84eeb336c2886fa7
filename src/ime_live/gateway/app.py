"""The ASGI application of one gateway process.

Its lifespan starts and stops the `Gateway`, and passes the `GatewayContext` to the connections.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.types import ASGIApp

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.gateway.api_docs.pages import routes_of
from ime_live.gateway.gateway import Gateway
from ime_live.gateway.http_protocol import CONTEXT
from ime_live.gateway.rest.routes import http_app
from ime_live.gateway.web.static_files import module_routes, page_routes
from ime_live.settings import GatewaySettings

GATEWAY: Final = "gateway"
"""Key of the `Gateway` in the state of the lifespan."""


class Application:
    """The ASGI application of one process. Streams bypass it; see `gateway.http_protocol`."""

    def __init__(self, settings: GatewaySettings, clock: Clock = SYSTEM_CLOCK) -> None:
        self._settings = settings
        self._clock = clock
        self._http: ASGIApp | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        """Respond to one request, or run the lifespan of the process."""
        if scope["type"] == "lifespan":
            await self._run_lifespan(scope, receive, send)
        elif self._http is not None:
            await self._http(scope, receive, send)

    async def _run_lifespan(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        await receive()
        gateway = Gateway(self._settings, self._clock)
        await gateway.start()
        pages = [*page_routes(), *module_routes()]
        if self._settings.docs:
            pages += routes_of(lambda: gateway.context.settings)
        self._http = http_app(gateway, self._settings, pages)
        scope["state"] |= {CONTEXT: gateway.context, GATEWAY: gateway}
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await gateway.aclose()
        await send({"type": "lifespan.shutdown.complete"})
