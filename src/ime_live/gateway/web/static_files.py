"""Serve static files of the package, with content types, entity tags and compression."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from importlib import resources
from pathlib import PurePath
from typing import Final

from msgspec import Struct
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ime_live.gateway.rest.responses import GZIP_ABOVE, matches, takes_gzip

METHODS: Final = ("GET", "HEAD")
"""HTTP methods of the routes of files."""

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".ts": "text/plain; charset=utf-8",  # video/mp2t is registered for it; tools read any type
}

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    # A browser revalidates each file before each use, so a page never mixes files of two versions.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}

# A module script is fetched with CORS (Fetch, 3.2). The file is public and the same for all
# clients, so every page may import it. --cors-origins decides which pages may use the REST calls.
_ANY_ORIGIN: Final = {"Access-Control-Allow-Origin": "*"}

PAGE_HEADERS: Final = {
    # Trusted Types: the browser refuses scripts that assign markup; ours create elements.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Headers of pages: the browser loads files and runs scripts from this server only."""

PAGE: Final = "index.html"
"""Name of the file that is a page; the others are its scripts and styles."""

_MODULE: Final = "ime-live.js"
_MODULE_TYPES: Final = "ime-live.d.ts"


class StaticFile(Struct, frozen=True):
    """A file, prepared to be served.

    Attributes:
        content: the content.
        compressed: the content compressed with gzip; None for a small file.
        headers: headers of each response, including the entity tag.
    """

    content: bytes
    compressed: bytes | None
    headers: dict[str, str]

    def response_to(self, request: Request) -> Response:
        """Return the response to a request for the file: plain, compressed, or 304."""
        if_none_match = request.headers.get("If-None-Match")
        if if_none_match is not None and matches(if_none_match, self.headers["ETag"]):
            return Response(status_code=304, headers=self.headers)
        if self.compressed is not None and takes_gzip(request.headers.get("Accept-Encoding")):
            return Response(self.compressed, headers=self.headers | {"Content-Encoding": "gzip"})
        return Response(self.content, headers=self.headers)


def read_files(package: str, folder: str, headers: dict[str, str]) -> dict[str, StaticFile]:
    """Read the files of a folder of a package: name → file.

    Args:
        package: name of the package, such as ``ime_live.gateway.web``.
        folder: path of the folder in the package. Files with other types than those of web pages
            are left out.
        headers: additional headers of each response.
    """
    static_files = {}
    for file in resources.files(package).joinpath(folder).iterdir():
        content_type = _TYPES.get(PurePath(file.name).suffix)
        if content_type is None:  # an editor's backup, or a file made by a file system
            continue
        content = file.read_bytes()
        compressed = zlib.compress(content, 9, 16 + zlib.MAX_WBITS)
        # Weak, because it is the same for the plain and the compressed form (RFC 9110, 8.8.3.3).
        tag = f'W/"{hashlib.sha256(content).hexdigest()[:16]}"'
        all_headers = {"Content-Type": content_type, "ETag": tag} | _HEADERS | headers
        static_files[file.name] = StaticFile(
            content, compressed if len(content) > GZIP_ABOVE else None, all_headers
        )
    return static_files


def files_route(prefix: str, files: Mapping[str, StaticFile]) -> Route:
    """Make the route of all files of a page but the page itself."""

    async def answer(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in files or name == PAGE:
            raise HTTPException(404, f"no such file: {name}")
        return files[name].response_to(request)

    return Route(prefix + "{name}", answer, methods=METHODS)


def module_routes() -> list[Route]:
    """Make the routes of the browser module and its types."""
    static_files = read_files("ime_live.gateway.web", "static", _ANY_ORIGIN)

    def route_of(name: str) -> Route:
        async def respond(request: Request) -> Response:
            return static_files[name].response_to(request)

        return Route(f"/{name}", respond, methods=METHODS)

    return [route_of(_MODULE), route_of(_MODULE_TYPES)]


def page_routes() -> list[Route]:
    """Make the routes of the market page, `/`, and of its files.

    Links between them are relative, so the page works behind any prefix.
    """
    static_files = read_files("ime_live.gateway.web", "static/page", PAGE_HEADERS)

    async def page(request: Request) -> Response:
        path = request.scope["raw_path"]
        if not path.endswith(b"/"):
            # Without the slash, the page's relative links would omit the last part of the prefix.
            return Response(
                status_code=308, headers={"Location": f"{path.decode().rpartition('/')[2]}/"}
            )
        return static_files[PAGE].response_to(request)

    return [
        Route("/", page, methods=METHODS),
        files_route("/page/", static_files),
    ]
