"""Serve the OpenAPI and AsyncAPI documents, and the page that shows them.

The page loads files from this server only, and its links are relative, so it works behind any
prefix.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ime_live.gateway.api_docs.documents import BaseUrl, asyncapi, openapi, servers
from ime_live.gateway.web.static_files import METHODS, PAGE, PAGE_HEADERS, files_route, read_files
from ime_live.settings import GatewaySettings


def routes_of(settings_in_force: Callable[[], GatewaySettings]) -> list[Route]:
    """Make the routes of `/docs`, `/openapi.json` and `/asyncapi.json`.

    Args:
        settings_in_force: returns the present settings, which a reload may change.
    """
    page = read_files("ime_live.gateway.api_docs", "page", PAGE_HEADERS)

    async def docs(request: Request) -> Response:
        if request.scope["raw_path"].endswith(b"/"):
            # Relative, because the prefix of a proxy is not known here.
            return Response(status_code=308, headers={"Location": "../docs"})
        return page[PAGE].response_to(request)

    async def openapi_json(_: Request) -> Response:
        return Response(_encoded_openapi(settings_in_force()), media_type="application/json")

    async def asyncapi_json(request: Request) -> Response:
        settings = settings_in_force()
        if settings.public_url:
            base_url = _parse_base_url(settings.public_url)
        else:
            base_url = _base_url_of_request(request, settings.root_path)
        document = _cached_asyncapi(settings) | {"servers": servers(settings, base_url)}
        return Response(
            msgspec.json.encode(document),
            media_type="application/json",
            headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
        )

    return [
        Route("/docs", docs, methods=METHODS),
        files_route("/docs/", page),
        Route("/openapi.json", openapi_json, methods=METHODS),
        Route("/asyncapi.json", asyncapi_json, methods=METHODS),
    ]


@lru_cache(maxsize=1)
def _encoded_openapi(settings: GatewaySettings) -> bytes:
    return msgspec.json.encode(openapi(settings))


_cached_asyncapi: Final = lru_cache(maxsize=1)(asyncapi)


def _parse_base_url(address: str) -> BaseUrl:
    url = urlsplit(address)
    return BaseUrl(url.netloc, url.path.removesuffix("/"), url.scheme == "https")


def _base_url_of_request(request: Request, root_path: str) -> BaseUrl:
    # The X-Forwarded-… fields of a proxy are not read, because any client can send them.
    host = request.headers.get("Host", "")
    return BaseUrl(host, root_path, request.scope["scheme"] == "https")
