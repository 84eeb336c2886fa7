"""Route HTTP requests: REST calls, probes, metrics, and errors for requests of streams."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

import msgspec
import structlog
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ime_live.clock import SYSTEM_CLOCK
from ime_live.errors import RefusedError
from ime_live.gateway.auth.cors import Cors
from ime_live.gateway.hub.contract_ref import By
from ime_live.gateway.query.stream_query import EVENTS_ROOT, STREAM_ROOT
from ime_live.gateway.rest.bodies import Data, Health, Section
from ime_live.gateway.rest.handlers import Handlers
from ime_live.gateway.rest.paths import (
    MARKETS_PATH,
    OPTION_CHAIN_PATH,
    SEARCH_PATH,
    candles_path,
    live_path,
    static_path,
)
from ime_live.gateway.rest.readiness import Readiness
from ime_live.gateway.rest.request import RestRequest, request_of
from ime_live.gateway.rest.responses import (
    Problem,
    RestResponse,
    problem_response,
    refusal_of,
    response_of,
)
from ime_live.gateway.rest.status_report import StatusHandler
from ime_live.settings import GatewaySettings

log = structlog.get_logger()

JSON: Final = "application/json"

_FAILED: Final = "internal error"

_Handler = Callable[[RestRequest], Awaitable[Data]]

# Some load balancers probe with HEAD.
_PROBE_METHODS: Final = ("GET", "HEAD")


class RestContext(Protocol):
    """The parts of the process that REST calls, probes and requests for metrics use."""

    @property
    def cors(self) -> Cors:
        """The web pages that may read responses."""

    @property
    def handlers(self) -> Handlers:
        """The handlers of the REST calls."""

    @property
    def status_handler(self) -> StatusHandler:
        """The handler of requests for the status report."""

    def now(self) -> float:
        """Return the present time [Unix seconds]."""

    def readiness(self) -> Readiness:
        """Return whether the process can serve clients, and the reason if it cannot."""

    def exposition(self) -> bytes:
        """Return the metrics in Prometheus's text format."""

    def count_request(self, call: str, status: int, seconds: float) -> None:
        """Count a REST request and its duration [s]; ``call`` must be one of a few paths."""


def http_app(
    context: RestContext, settings: GatewaySettings, pages: Sequence[BaseRoute] = ()
) -> ASGIApp:
    """Make the ASGI application for all requests but those of streams.

    Args:
        context: the parts of the process that the requests use.
        settings: the settings of the gateway, for the prefix of a proxy.
        pages: additional routes.
    """

    def health(_: Request) -> Response:
        return as_json(Health("ok"))

    def ready(_: Request) -> Response:
        state = context.readiness()
        return as_json(state, status=200 if state.ready else 503)

    def metrics(_: Request) -> Response:
        return Response(context.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def status(request: Request) -> Response:
        report = await context.status_handler.report(request_of(request.scope))
        return Response(report, media_type=JSON, headers={"Cache-Control": "no-store"})

    routes = [
        Route("/health", in_loop(health), methods=_PROBE_METHODS),
        Route("/ready", in_loop(ready), methods=_PROBE_METHODS),
        Route("/metrics", in_loop(metrics), methods=["GET"]),
        Route("/live/status", status, methods=_PROBE_METHODS),
        *(Route(STREAM_ROOT + by.value, in_loop(_stream), methods=["GET"]) for by in By),
        *(Route(EVENTS_ROOT + by.value, in_loop(_events), methods=["GET"]) for by in By),
        *pages,
    ]
    exception_handlers: dict[Any, Any] = {
        HTTPException: _respond_to_http_error,
        RefusedError: _respond_to_refusal,
        Exception: _respond_to_failure,
    }
    starlette = Starlette(routes=routes, exception_handlers=exception_handlers)
    starlette.router.redirect_slashes = False
    app = _with_plain_path(_DataCalls(context, starlette), settings.root_path)
    return _with_cors(app, context)


def as_json(value: object, status: int = 200) -> Response:
    """Return a response with a JSON body; msgspec must be able to encode the value."""
    return Response(msgspec.json.encode(value), status_code=status, media_type=JSON)


def in_loop(endpoint: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
    """Make an endpoint async that does not block; Starlette would call it in a thread."""

    async def respond(request: Request) -> Response:
        return endpoint(request)

    return respond


def _stream(_: Request) -> Response:
    """Respond to a plain HTTP request for a WebSocket stream."""
    return Response(
        b'{"detail":"this is a WebSocket endpoint: connect with a WebSocket client"}',
        status_code=426,
        media_type=JSON,
        headers={"Upgrade": "websocket", "Connection": "Upgrade"},
    )


def _events(_: Request) -> Response:
    """Refuse a HEAD request for events; a GET does not get here, since it is a stream."""
    raise HTTPException(400, "a stream of events needs a connection of its own")


class _DataCalls:
    """ASGI application of the REST calls for data; Starlette would add a sixth to their time."""

    def __init__(self, context: RestContext, others: ASGIApp) -> None:
        """Make the application.

        Args:
            context: the parts of the process that the requests use.
            others: ASGI application for all other requests.
        """
        self._context = context
        self._others = others
        handlers = context.handlers
        live: dict[str, _Handler] = {
            live_path(section, by): partial(handlers.live, section, by)
            for section in Section
            for by in By
        }
        static = {static_path(by): partial(handlers.static, by) for by in By}
        candles = {candles_path(by): partial(handlers.candles, by) for by in By}
        single: dict[str, _Handler] = {
            SEARCH_PATH: handlers.search,
            OPTION_CHAIN_PATH: handlers.option_chain,
            MARKETS_PATH: handlers.markets,
        }
        self._handlers = live | static | candles | single

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        handler = self._handlers.get(path)
        if handler is None:
            await self._others(scope, receive, send)
            return
        if scope["method"] not in _PROBE_METHODS:
            await _send(problem_response(405, "Method Not Allowed", (b"allow", b"GET, HEAD")), send)
            return
        begin = SYSTEM_CLOCK.monotonic()
        request = request_of(scope)
        try:
            data = await handler(request)
            response = response_of(data, request, self._context.now())
        except RefusedError as error:
            response = refusal_of(error)
        except Exception:
            self._context.count_request(path, 500, SYSTEM_CLOCK.monotonic() - begin)
            await _send(problem_response(500, _FAILED), send)
            raise  # so that the server logs it
        self._context.count_request(path, response.status, SYSTEM_CLOCK.monotonic() - begin)
        await _send(response, send)


async def _send(response: RestResponse, send: Send) -> None:
    await send(
        {"type": "http.response.start", "status": response.status, "headers": response.headers}
    )
    # Also for HEAD: the server leaves the body out.
    await send({"type": "http.response.body", "body": response.body, "more_body": False})


def _respond_to_http_error(_: Request, error: HTTPException) -> Response:
    return Response(
        msgspec.json.encode(Problem(error.detail)),
        status_code=error.status_code,
        headers=error.headers,
        media_type=JSON,
    )


def _respond_to_refusal(_: Request, error: RefusedError) -> Response:
    refusal = refusal_of(error)
    headers = {name.decode(): value.decode() for name, value in refusal.headers}
    return Response(refusal.body, status_code=refusal.status, headers=headers)


def _respond_to_failure(_: Request, error: Exception) -> Response:
    del error  # Starlette raises it again, so that the server logs it
    return as_json(Problem(_FAILED), status=500)


def _with_plain_path(app: ASGIApp, root_path: str) -> ASGIApp:
    """Return an application that removes a proxy's prefix and a final slash from paths."""

    async def plain_path_app(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if root_path and f"{path}/".startswith(root_path + "/"):
            path = path.removeprefix(root_path)
        scope["path"] = path.rstrip("/") or "/"
        await app(scope, receive, send)

    return plain_path_app


def _with_cors(app: ASGIApp, context: RestContext) -> ASGIApp:
    """Return an application that answers preflight requests and adds the headers of CORS."""

    async def cors_app(scope: Scope, receive: Receive, send: Send) -> None:
        cors = context.cors
        if not cors:
            await app(scope, receive, send)
            return
        request_headers = dict(scope["headers"])
        origin = request_headers.get(b"origin")
        is_options = scope["method"] == "OPTIONS"
        if is_options and b"access-control-request-method" in request_headers:
            preflight_headers = cors.preflight(origin)
            if preflight_headers is not None:
                await _send(RestResponse(204, preflight_headers, b""), send)
                return
        cors_headers = cors.headers(origin)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in message["headers"]}
                # Browsers refuse a response with two values of this header.
                if b"access-control-allow-origin" not in names:
                    message["headers"] = [*message["headers"], *cors_headers]
            await send(message)

        await app(scope, receive, send_with_headers)

    return cors_app
