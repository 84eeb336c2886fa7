"""Make HTTP responses: entity tags, 304, compression, and refusals. No I/O."""

from __future__ import annotations

import hashlib
import re
import zlib
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct

from ime_live.errors import RefusedError
from ime_live.gateway.query.http_errors import headers_of, status_of
from ime_live.gateway.rest.bodies import Data, response_body
from ime_live.gateway.rest.request import RestRequest

GZIP_ABOVE: Final = 1_400
"""Size above which a body is compressed [bytes]; a smaller body fits in one packet anyway."""

# Level 1 compresses 12.6 kB to 568 bytes in 32 µs, level 6 to 502 bytes in 70 µs.
_LEVEL: Final = 1
_GZIP: Final = 16 + zlib.MAX_WBITS

# Caches must revalidate a response before each use, and must not share it among clients.
_CACHE: Final = (b"cache-control", b"private, no-cache")
_VARY: Final = (b"vary", b"Accept-Encoding")
_JSON: Final = (b"content-type", b"application/json")
_ENCODED: Final = (b"content-encoding", b"gzip")

# A quality of zero means "not acceptable" (RFC 9110, 12.4.2).
_ZERO_QUALITY: Final = re.compile(r"0(\.0{0,3})?")
_NO_STORE: Final = (b"cache-control", b"no-store")


class RestResponse(Struct, frozen=True):
    """The response to a REST call: status, headers with names in lower case, and body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def response_of(data: Data, request: RestRequest, now: float) -> RestResponse:
    """Return the response to a successful call.

    Args:
        data: the content.
        request: the request, whose headers determine the form of the response.
        now: the present time [Unix seconds].
    """
    tag = entity_tag(data)
    headers = [(b"etag", tag.encode()), _CACHE, _VARY]
    if request.if_none_match is not None and matches(request.if_none_match, tag):
        return RestResponse(304, headers, b"")
    body = response_body(data, now)
    if len(body) > GZIP_ABOVE and takes_gzip(request.accept_encoding):
        body = zlib.compress(body, _LEVEL, _GZIP)
        headers.append(_ENCODED)
    headers += (_JSON, (b"content-length", b"%d" % len(body)))
    return RestResponse(200, headers, body)


class Problem(Struct, frozen=True):
    """The body of every response with a status of 400 or more.

    Attributes:
        detail: description of the error, for people.
    """

    detail: str


def problem_response(status: int, detail: str, *headers: tuple[bytes, bytes]) -> RestResponse:
    """Return an error response.

    Args:
        status: HTTP status.
        detail: description of the error.
        headers: additional headers, with names in lower case.
    """
    body = msgspec.json.encode(Problem(detail))
    return RestResponse(status, [*headers, _JSON, (b"content-length", b"%d" % len(body))], body)


def refusal_of(error: RefusedError) -> RestResponse:
    """Return the response to a refused call."""
    text = f"{error.reason}; {error.detail}" if error.detail else error.reason
    headers = [(name.lower().encode(), value.encode()) for name, value in headers_of(error).items()]
    return problem_response(status_of(error), text, *headers, _NO_STORE)


def entity_tag(data: Data) -> str:
    """Return the entity tag of a response, which depends on the content only.

    The tag is weak (RFC 9110, 8.8.1), because ``Status`` contains the time: no two responses are
    equal byte by byte.
    """
    return f'W/"{hashlib.blake2b(data.json, digest_size=12).hexdigest()}"'


def matches(if_none_match: str, tag: str) -> bool:
    """Return whether ``If-None-Match`` contains a tag, by weak comparison (RFC 9110, 13.1.2)."""
    opaque_tag = tag.removeprefix("W/")
    tags = (each.strip().removeprefix("W/") for each in if_none_match.split(","))
    return any(each in (opaque_tag, "*") for each in tags)


@lru_cache(maxsize=256)  # each client library sends its own value
def takes_gzip(accept_encoding: str | None) -> bool:
    """Return whether ``Accept-Encoding`` allows gzip (RFC 9110, 12.5.3)."""
    qualities: dict[str, bool] = {}
    for each in (accept_encoding or "").lower().split(","):
        coding, *parameters = (part.strip() for part in each.split(";"))
        quality = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
        qualities[coding] = _ZERO_QUALITY.fullmatch(quality) is None
    return qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", False)))
