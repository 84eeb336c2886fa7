"""The HTTP side: probes, metrics, the feed's state, and clear answers to what is not its matter.

Requests come in from uvicorn as ASGI, answers go out as JSON or text. It knows the process by
the one interface it needs (`Probe`) and neither sessions nor the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import structlog
from litestar import HttpMethod, Litestar, MediaType, Request, Response, get, route
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send
from prometheus_client import CONTENT_TYPE_LATEST

from ime_live.errors import RefusedError
from ime_live.gateway.refusal import headers_of, status_of
from ime_live.gateway.session import EVENTS_ROOT, STREAM_ROOT, By

log = structlog.get_logger()

# Some load balancers ask without wanting a body.
_PROBE_METHODS: Final = (HttpMethod.GET, HttpMethod.HEAD)


class Probe(Protocol):
    """What is asked of the process."""

    def readiness(self) -> dict[str, bool | int | str | None]:
        """What the process needs to serve, and whether it has it, under ``ready``."""

    async def report(self, authorization: str | None, query: str) -> bytes:
        """The state of the feed and the age of each contract, as JSON; raises RefusedError.

        Args:
            authorization: the header of that name.
            query: as sent.
        """

    def exposition(self) -> bytes:
        """The metrics in Prometheus's text format."""


def http_app(probe: Probe, root_path: str = "", pages: Sequence[HTTPRouteHandler] = ()) -> ASGIApp:
    """Make the ASGI application for everything that is not a stream.

    Args:
        probe: is asked about the process.
        root_path: prefix of a proxy in front, which may have stripped it or passed it on.
        pages: what shows the interfaces, see `gateway.pages`.
    """

    @route("/health", http_method=_PROBE_METHODS, sync_to_thread=False)
    def health() -> dict[str, str]:
        """The process runs and answers."""
        return {"status": "ok"}

    @route("/ready", http_method=_PROBE_METHODS, sync_to_thread=False)
    def ready() -> Response[dict[str, bool | int | str | None]]:
        """Redis can be reached and the contracts are loaded; else 503."""
        state = probe.readiness()
        return Response(state, status_code=200 if state["ready"] else 503)

    @get("/metrics", sync_to_thread=False)
    def metrics() -> Response[bytes]:
        """Prometheus's metrics."""
        # As a header: to a media type of text Litestar would add the charset once more.
        return Response(probe.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @route("/live/status", http_method=_PROBE_METHODS)
    async def status(request: Request[Any, Any, Any]) -> Response[bytes]:
        """The state of the feed; for whoever may have a stream."""
        query = request.scope["query_string"].decode("latin-1")
        answer = await probe.report(request.headers.get("Authorization"), query)
        return Response(answer, media_type=MediaType.JSON, headers={"Cache-Control": "no-store"})

    @get([STREAM_ROOT + by.value for by in By], sync_to_thread=False)
    def stream() -> Response[dict[str, str]]:
        """A stream that was asked for by plain HTTP."""
        return Response(
            {"detail": "this is a WebSocket endpoint: connect with a WebSocket client"},
            status_code=426,
            headers={"Upgrade": "websocket", "Connection": "Upgrade"},
        )

    @get([EVENTS_ROOT + by.value for by in By], sync_to_thread=False)
    def events() -> Response[dict[str, str]]:
        """A stream of events that was asked for behind a request that is not answered yet.

        Such a stream has no end, so it takes over its connection and does not come here.
        """
        return Response(
            {"detail": "a stream of events needs a connection of its own"}, status_code=400
        )

    app = Litestar(
        [health, ready, metrics, status, stream, events, *pages],
        openapi_config=None,
        logging_config=None,
        exception_handlers={
            HTTPException: _answer_http_error,
            RefusedError: _answer_refusal,
            Exception: _answer_failure,
        },
    )
    return _without_root_path(app, root_path) if root_path else app


def _answer_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    del request
    return Response(
        {"detail": error.detail},
        status_code=error.status_code,
        headers=error.headers,
        media_type=MediaType.JSON,
    )


def _answer_refusal(request: Request[Any, Any, Any], error: RefusedError) -> Response[Any]:
    del request
    return Response(
        {"detail": error.reason},
        status_code=status_of(error),
        headers=headers_of(error),
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
