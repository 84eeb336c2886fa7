"""Static files: serve files of the package with types, entity tags and compression."""

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
"""Methods by which files can be read."""

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".ts": "text/plain; charset=utf-8",  # video/mp2t is registered for it; tools read any type
}

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    # A browser checks each file, and gets it only if it has changed: a page never mixes files of
    # two versions.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}

# A module script is fetched with CORS (Fetch, 3.2). The file is public and equal for all clients,
# so every page may import it. Whether the page may use the calls is up to --cors-origins.
_SHARED: Final = {"Access-Control-Allow-Origin": "*"}

PAGE_HEADERS: Final = {
    # Trusted Types: the scripts make elements, never markup, and the browser enforces that.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""Headers of pages: the browser may fetch nothing from elsewhere, and run no script but theirs."""

PAGE: Final = "index.html"
"""Name of the file that is a page; the others are its scripts and styles."""

_MODULE: Final = "ime-live.js"
_MODULE_TYPES: Final = "ime-live.d.ts"


class StaticFile(Struct, frozen=True):
    """A file, prepared to be served.

    Attributes:
        content: its bytes.
        compressed: the same with gzip; None if that saves nothing.
        headers: headers of each response, the entity tag among them.
    """

    content: bytes
    compressed: bytes | None
    headers: dict[str, str]

    def response_to(self, request: Request) -> Response:
        """Return the response to a request for the file: whole, compressed, or 304."""
        given = request.headers.get("If-None-Match")
        if given is not None and matches(given, self.headers["ETag"]):
            return Response(status_code=304, headers=self.headers)
        if self.compressed is not None and takes_gzip(request.headers.get("Accept-Encoding")):
            return Response(self.compressed, headers=self.headers | {"Content-Encoding": "gzip"})
        return Response(self.content, headers=self.headers)


def read_files(package: str, folder: str, headers: dict[str, str]) -> dict[str, StaticFile]:
    """Read the files of a folder of a package: name → file.

    Args:
        package: the package, as ``ime_live.gateway.web``.
        folder: the folder in it. Files of other types than those of web pages are left out.
        headers: headers of each response besides those of all files.
    """
    found = {}
    for each in resources.files(package).joinpath(folder).iterdir():
        kind = _TYPES.get(PurePath(each.name).suffix)
        if kind is None:  # an editor's backup, or a file made by a file system
            continue
        content = each.read_bytes()
        compressed = zlib.compress(content, 9, 16 + zlib.MAX_WBITS)
        # Weak, because it stands for both forms (RFC 9110, 8.8.3.3).
        tag = f'W/"{hashlib.sha256(content).hexdigest()[:16]}"'
        made = {"Content-Type": kind, "ETag": tag} | _HEADERS | headers
        found[each.name] = StaticFile(
            content, compressed if len(content) > GZIP_ABOVE else None, made
        )
    return found


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
    read = read_files("ime_live.gateway.web", "static", _SHARED)

    def route_of(name: str) -> Route:
        async def answer(request: Request) -> Response:
            return read[name].response_to(request)

        return Route(f"/{name}", answer, methods=METHODS)

    return [route_of(_MODULE), route_of(_MODULE_TYPES)]


def page_routes() -> list[Route]:
    """Make the routes of the market page, `/`, and of its files.

    Links between them are relative, so the page works behind any prefix.
    """
    read = read_files("ime_live.gateway.web", "static/page", PAGE_HEADERS)

    async def page(request: Request) -> Response:
        path = request.scope["raw_path"]
        if not path.endswith(b"/"):
            # A prefix without a slash: relative links would lead beside it.
            return Response(
                status_code=308, headers={"Location": f"{path.decode().rpartition('/')[2]}/"}
            )
        return read[PAGE].response_to(request)

    return [
        Route("/", page, methods=METHODS),
        files_route("/page/", read),
    ]
