"""Serve the page that shows the interfaces, its files, and both API documents.

All files of the page come from here, and its policy lets a browser fetch nothing from elsewhere.
Its links are relative, so it works behind any prefix.
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


def routes_of(present: Callable[[], GatewaySettings]) -> list[Route]:
    """Make the routes of `/docs`, `/openapi.json` and `/asyncapi.json`.

    Args:
        present: returns the settings in force.
    """
    page = read_files("ime_live.gateway.api_docs", "page", PAGE_HEADERS)

    async def docs(request: Request) -> Response:
        if request.scope["raw_path"].endswith(b"/"):
            # Relative, like the page's own links: the prefix of a proxy is not known here.
            return Response(status_code=308, headers={"Location": "../docs"})
        return page[PAGE].response_to(request)

    async def openapi_json(_: Request) -> Response:
        return Response(_calls(present()), media_type="application/json")

    async def asyncapi_json(request: Request) -> Response:
        settings = present()
        public = _base_url_of(settings.public_url) if settings.public_url else None
        where = servers(settings, public or _asked(request, settings.root_path))
        return Response(
            msgspec.json.encode(_streams(settings) | {"servers": where}),
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
def _calls(settings: GatewaySettings) -> bytes:
    return msgspec.json.encode(openapi(settings))


_streams: Final = lru_cache(maxsize=1)(asyncapi)


def _base_url_of(address: str) -> BaseUrl:
    url = urlsplit(address)
    return BaseUrl(url.netloc, url.path.removesuffix("/"), url.scheme == "https")


def _asked(request: Request, root_path: str) -> BaseUrl:
    # X-Forwarded-… of a proxy is not read: anybody can send it.
    host = request.headers.get("Host", "")
    return BaseUrl(host, root_path, request.scope["scheme"] == "https")
