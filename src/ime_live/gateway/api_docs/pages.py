"""Serve the page that shows the interfaces, its files, and both API documents.

All files of the page come from here, and its policy lets a browser fetch nothing from elsewhere.
Its links are relative, so it works behind any prefix.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import PurePath
from typing import Final
from urllib.parse import urlsplit

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ime_live.gateway.api_docs.documents import BaseUrl, asyncapi, openapi, servers
from ime_live.settings import GatewaySettings

_GET: Final = ("GET", "HEAD")

_PAGE: Final = "index.html"

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_HEADERS: Final = {
    # Trusted Types: the scripts make elements, never markup, and the browser enforces that.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # A browser checks each file, and gets it only if it has changed: a page never mixes files of
    # two versions.
    "Cache-Control": "no-cache",
}


class _File(msgspec.Struct, frozen=True):
    content: bytes
    headers: dict[str, str]

    @property
    def tag(self) -> str:
        return self.headers["ETag"]


def _load() -> dict[str, _File]:
    found = {}
    for each in files("ime_live.gateway.api_docs").joinpath("page").iterdir():
        kind = _TYPES.get(PurePath(each.name).suffix)
        if kind is None:  # an editor's backup, or a file made by a file system
            continue
        content = each.read_bytes()
        headers = {
            "Content-Type": kind,
            "ETag": f'"{hashlib.sha256(content).hexdigest()[:16]}"',
        }
        found[each.name] = _File(content, _HEADERS | headers)
    return found


def routes_of(settings: GatewaySettings) -> list[Route]:
    """Make the routes of `/docs`, `/openapi.json` and `/asyncapi.json`."""
    page = _load()
    calls, streams = msgspec.json.encode(openapi(settings)), asyncapi(settings)
    public = _base_url_of(settings.public_url) if settings.public_url else None

    async def docs(request: Request) -> Response:
        if request.scope["raw_path"].endswith(b"/"):
            # Relative, like the page's own links: the prefix of a proxy is not known here.
            return Response(status_code=308, headers={"Location": "../docs"})
        return _answer(request, page[_PAGE])

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in page or name == _PAGE:
            raise HTTPException(404, f"no such file: {name}")
        return _answer(request, page[name])

    async def openapi_json(_: Request) -> Response:
        return Response(calls, media_type="application/json")

    async def asyncapi_json(request: Request) -> Response:
        where = servers(settings, public or _asked(request, settings.root_path))
        return Response(
            msgspec.json.encode(streams | {"servers": where}),
            media_type="application/json",
            headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
        )

    return [
        Route("/docs", docs, methods=_GET),
        Route("/docs/{name}", file, methods=_GET),
        Route("/openapi.json", openapi_json, methods=_GET),
        Route("/asyncapi.json", asyncapi_json, methods=_GET),
    ]


def _answer(request: Request, file: _File) -> Response:
    if request.headers.get("If-None-Match") == file.tag:
        return Response(status_code=304, headers=file.headers)
    return Response(file.content, headers=file.headers)


def _base_url_of(address: str) -> BaseUrl:
    url = urlsplit(address)
    return BaseUrl(url.netloc, url.path.removesuffix("/"), url.scheme == "https")


def _asked(request: Request, root_path: str) -> BaseUrl:
    # X-Forwarded-… of a proxy is not read: anybody can send it.
    host = request.headers.get("Host", "")
    return BaseUrl(host, root_path, request.scope["scheme"] == "https")
