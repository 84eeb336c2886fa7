"""The HTTP side: health, readiness, metrics, and clear answers to what is not HTTP's matter.

Requests come in from uvicorn as ASGI, answers go out as JSON or text. It knows the process by
the one interface it needs (`Probe`) and neither sessions nor the store.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import structlog
from litestar import HttpMethod, Litestar, MediaType, Request, Response, get, route
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, Receive, Scope, Send
from prometheus_client import CONTENT_TYPE_LATEST

from ime_live.gateway.session import STREAM_ROOT, By

log = structlog.get_logger()

# Some load balancers ask without wanting a body.
_PROBE_METHODS: Final = (HttpMethod.GET, HttpMethod.HEAD)


class Probe(Protocol):
    """What is asked of the process."""

    def readiness(self) -> dict[str, bool | int]:
        """What the process needs to serve, and whether it has it, under ``ready``."""

    def exposition(self) -> bytes:
        """The metrics in Prometheus's text format."""


def http_app(probe: Probe, root_path: str = "") -> ASGIApp:
    """Make the ASGI application for everything that is not a stream.

    Args:
        probe: is asked about the process.
        root_path: prefix of a proxy in front, which may have stripped it or passed it on.
    """

    @route("/health", http_method=_PROBE_METHODS, sync_to_thread=False)
    def health() -> dict[str, str]:
        """The process runs and answers."""
        return {"status": "ok"}

    @route("/ready", http_method=_PROBE_METHODS, sync_to_thread=False)
    def ready() -> Response[dict[str, bool | int]]:
        """Redis can be reached and the contracts are loaded; else 503."""
        state = probe.readiness()
        return Response(state, status_code=200 if state["ready"] else 503)

    @get("/metrics", sync_to_thread=False)
    def metrics() -> Response[bytes]:
        """Prometheus's metrics."""
        # As a header: to a media type of text Litestar would add the charset once more.
        return Response(probe.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @get([STREAM_ROOT + by.value for by in By], sync_to_thread=False)
    def stream() -> Response[dict[str, str]]:
        """A stream that was asked for by plain HTTP."""
        return Response(
            {"detail": "this is a WebSocket endpoint: connect with a WebSocket client"},
            status_code=426,
            headers={"Upgrade": "websocket", "Connection": "Upgrade"},
        )

    app = Litestar(
        [health, ready, metrics, stream],
        openapi_config=None,
        logging_config=None,
        exception_handlers={HTTPException: _answer_refusal, Exception: _answer_failure},
    )
    return _without_root_path(app, root_path) if root_path else app


def _answer_refusal(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    del request
    return Response(
        {"detail": error.detail},
        status_code=error.status_code,
        headers=error.headers,
        media_type=MediaType.JSON,
    )


def _answer_failure(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    # The path only: a query may hold a token.
    log.error("request failed", path=request.url.path, exc_info=error)
    return Response({"detail": "internal error"}, status_code=500, media_type=MediaType.JSON)


def _without_root_path(app: ASGIApp, root_path: str) -> ASGIApp:
    async def stripped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(root_path + "/"):
            scope["path"] = scope["path"].removeprefix(root_path)
            scope["raw_path"] = scope["path"].encode()
        await app(scope, receive, send)

    return stripped
