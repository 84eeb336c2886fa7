"""The HTTP side: the REST calls, probes, metrics, and clear answers to what is not its matter.

Requests come in from uvicorn as ASGI, answers go out as JSON or text. It knows the process by
the one interface it needs (`Probe`) and neither sessions nor the store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

import structlog
from litestar import HttpMethod, Litestar, MediaType, Request, Response, asgi, get, route
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, MethodNotAllowedException
from litestar.handlers import ASGIRouteHandler
from litestar.types import (
    ASGIApp,
    ControllerRouterHandler,
    HTTPScope,
    Message,
    Receive,
    Scope,
    Send,
)
from prometheus_client import CONTENT_TYPE_LATEST

from ime_live.errors import RefusedError
from ime_live.gateway import openapi
from ime_live.gateway.answers import Data, Section
from ime_live.gateway.calls import Asked, Calls
from ime_live.gateway.cors import Cors
from ime_live.gateway.report import Readiness
from ime_live.gateway.representation import Representation, Wishes, refuse, represent
from ime_live.gateway.session import EVENTS_ROOT, STREAM_ROOT, By
from ime_live.log_limiter import LogLimiter
from ime_live.settings import GatewaySettings

log = structlog.get_logger()

# Some load balancers ask without wanting a body.
_PROBE_METHODS: Final = (HttpMethod.GET, HttpMethod.HEAD)


class Probe(Protocol):
    """What is asked of the process."""

    @property
    def calls(self) -> Calls:
        """Answers the REST calls."""

    def now(self) -> float:
        """Unix seconds."""

    def readiness(self) -> Readiness:
        """What the process needs to serve, and whether it has it."""

    async def report(self, authorization: str | None, query: str) -> bytes:
        """The state of the feed and the age of each contract, as JSON; raises RefusedError.

        Args:
            authorization: the header of that name.
            query: as sent.
        """

    def exposition(self) -> bytes:
        """The metrics in Prometheus's text format."""

    def count_request(self, call: str, status: int) -> None:
        """A request for data was answered; ``call`` is one of few."""


def http_app(
    probe: Probe, settings: GatewaySettings, handlers: Sequence[ControllerRouterHandler] = ()
) -> ASGIApp:
    """Make the ASGI application for everything that is not a stream.

    Args:
        probe: is asked about the process.
        settings: the prefix of a proxy in front, which pages may read answers, and so on.
        handlers: more of them, of Litestar.
    """

    @route("/health", http_method=_PROBE_METHODS, sync_to_thread=False)
    def health() -> openapi.Health:
        """The process runs and answers."""
        return openapi.Health("ok")

    @route("/ready", http_method=_PROBE_METHODS, sync_to_thread=False)
    def ready() -> Response[Readiness]:
        """Redis can be reached and the contracts are loaded; else 503."""
        state = probe.readiness()
        return Response(state, status_code=200 if state.ready else 503)

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
        """A stream of events. A GET takes over its connection; only other methods come here."""
        return Response(
            {"detail": "a stream of events needs a connection of its own"}, status_code=400
        )

    document = openapi.encoded(settings)

    @route("/openapi.json", http_method=_PROBE_METHODS, sync_to_thread=False)
    def description() -> Response[bytes]:
        """The OpenAPI document of these calls."""
        return Response(document, media_type=MediaType.JSON)

    app: ASGIApp = Litestar(
        [
            health,
            ready,
            metrics,
            status,
            stream,
            events,
            *([description] if settings.docs else []),
            *_data_calls(probe),
            *handlers,
        ],
        openapi_config=None,
        logging_config=None,
        exception_handlers={
            HTTPException: _answer_http_error,
            RefusedError: _answer_refusal,
            Exception: partial(_answer_failure, LogLimiter(log)),
        },
    )
    if settings.root_path:
        app = _without_root_path(app, settings.root_path)
    return _with_cors(app, Cors(settings.origins)) if settings.origins else app


def _data_calls(probe: Probe) -> list[ASGIRouteHandler]:
    calls = probe.calls
    handlers = [
        _data_call(openapi.live_path(section, by), partial(calls.live, section, by), probe)
        for section in Section
        for by in By
    ]
    handlers += [_data_call(openapi.static_path(by), partial(calls.static, by), probe) for by in By]
    return [*handlers, _data_call(openapi.SEARCH_PATH, calls.search, probe)]


def _data_call(
    path: str, call: Callable[[Asked], Awaitable[Data]], probe: Probe
) -> ASGIRouteHandler:
    """The handler of a call for data.

    As plain ASGI: Litestar's requests and responses take longer than all the rest of it.
    """

    @asgi(path, copy_scope=False)
    async def handle(scope: HTTPScope, receive: Receive, send: Send) -> None:
        del receive
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowedException(headers={"Allow": "GET, HEAD"})
        asked, wishes = _read(scope)
        try:
            shown = represent(await call(asked), wishes, probe.now())
        except RefusedError as error:
            shown = refuse(error)
        except Exception:
            probe.count_request(path, 500)
            raise
        probe.count_request(path, shown.status)
        await _send(shown, send)

    return handle


def _read(scope: HTTPScope) -> tuple[Asked, Wishes]:
    authorization = if_none_match = accept_encoding = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            # The first one, as of a stream.
            authorization = authorization or value.decode("latin-1")
        elif name == b"if-none-match":
            text = value.decode("latin-1")
            if_none_match = text if if_none_match is None else f"{if_none_match}, {text}"
        elif name == b"accept-encoding":
            text = value.decode("latin-1")
            accept_encoding = text if accept_encoding is None else f"{accept_encoding}, {text}"
    peer = scope["client"]
    return (
        Asked(authorization, scope["query_string"].decode("latin-1"), peer[0] if peer else ""),
        Wishes(if_none_match, accept_encoding),
    )


async def _send(shown: Representation, send: Send) -> None:
    await send({"type": "http.response.start", "status": shown.status, "headers": shown.headers})
    # To HEAD, too: the server leaves the body out, and knows the length by the header.
    await send({"type": "http.response.body", "body": shown.body, "more_body": False})


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
    shown = refuse(error)
    headers = {name.decode(): value.decode() for name, value in shown.headers}
    return Response(shown.body, status_code=shown.status, headers=headers)


def _answer_failure(
    limited: LogLimiter, request: Request[Any, Any, Any], error: Exception
) -> Response[Any]:
    # The path only: a query may hold a token.
    limited.error("request failed", key=type(error).__name__, path=request.url.path, exc_info=error)
    return Response({"detail": "internal error"}, status_code=500, media_type=MediaType.JSON)


def _without_root_path(app: ASGIApp, root_path: str) -> ASGIApp:
    async def stripped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(root_path + "/"):
            scope["path"] = scope["path"].removeprefix(root_path)
            scope["raw_path"] = scope["path"].encode()
        await app(scope, receive, send)

    return stripped


def _with_cors(app: ASGIApp, cors: Cors) -> ASGIApp:
    async def shared(scope: Scope, receive: Receive, send: Send) -> None:
        sent = dict(scope["headers"])
        origin = sent.get(b"origin")
        preflight = scope["type"] == ScopeType.HTTP and scope["method"] == "OPTIONS"
        if preflight and b"access-control-request-method" in sent:
            allowed = cors.preflight(origin)
            if allowed is not None:
                await _send(Representation(204, allowed, b""), send)
                return
        added = cors.headers(origin)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await app(scope, receive, send_with_headers)

    return shared
