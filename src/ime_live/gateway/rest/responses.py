"""Representation: an answer as HTTP sends it, with its tag, compressed or not, or not at all.

Data and what the request's headers say come in; a status, headers and a body go out. Pure. It
must not know what the data means.
"""

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
from ime_live.gateway.rest.bodies import Data, answer

GZIP_ABOVE: Final = 1_400
"""Bytes that one packet carries: to compress what is smaller saves nothing."""

# Of 12.6 kB level 1 makes 568 bytes in 32 µs, level 6 makes 502 in 70.
_LEVEL: Final = 1
_GZIP: Final = 16 + zlib.MAX_WBITS

# Whoever keeps an answer asks each time whether it still holds, and shares it with nobody.
_CACHE: Final = (b"cache-control", b"private, no-cache")
_VARY: Final = (b"vary", b"Accept-Encoding")
_JSON: Final = (b"content-type", b"application/json")
_ENCODED: Final = (b"content-encoding", b"gzip")

# A quality of zero: RFC 9110, 12.4.2.
_REFUSED: Final = re.compile(r"0(\.0{0,3})?")


_NO_STORE: Final = (b"cache-control", b"no-store")


class Wishes(Struct, frozen=True):
    """What a request's headers say of the answer's form.

    Attributes:
        if_none_match: the header of that name.
        accept_encoding: the header of that name.
    """

    if_none_match: str | None = None
    accept_encoding: str | None = None


class Representation(Struct, frozen=True):
    """A status, headers with names in lower case, and a body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def represent(data: Data, wishes: Wishes, now: float) -> Representation:
    """Give an answer its form.

    Args:
        data: what it carries.
        wishes: of whoever asks.
        now: Unix seconds.
    """
    tag = tag_of(data)
    headers = [(b"etag", tag.encode()), _CACHE, _VARY]
    if wishes.if_none_match is not None and matches(wishes.if_none_match, tag):
        return Representation(304, headers, b"")
    body = answer(data, now)
    if len(body) > GZIP_ABOVE and takes_gzip(wishes.accept_encoding):
        body = zlib.compress(body, _LEVEL, _GZIP)
        headers.append(_ENCODED)
    headers += (_JSON, (b"content-length", b"%d" % len(body)))
    return Representation(200, headers, body)


class Problem(Struct, frozen=True):
    """What every answer with a status of 400 or more carries.

    Attributes:
        detail: what is wrong, for people.
    """

    detail: str


def refuse(error: RefusedError) -> Representation:
    """Give a refusal its form."""
    told = f"{error.reason}; {error.detail}" if error.detail else error.reason
    body = msgspec.json.encode(Problem(told))
    headers = [(name.lower().encode(), value.encode()) for name, value in headers_of(error).items()]
    headers += (_JSON, _NO_STORE, (b"content-length", b"%d" % len(body)))
    return Representation(status_of(error), headers, body)


def tag_of(data: Data) -> str:
    """The entity tag of an answer: equal data has an equal one.

    It is a weak one (RFC 9110, 8.8.1): ``Status`` holds the time, so no two answers are equal
    byte by byte.
    """
    return f'W/"{hashlib.blake2b(data.json, digest_size=12).hexdigest()}"'


def matches(if_none_match: str, tag: str) -> bool:
    """Whether the header names ``tag``, compared weakly (RFC 9110, 13.1.2)."""
    wanted = tag.removeprefix("W/")
    tags = (each.strip().removeprefix("W/") for each in if_none_match.split(","))
    return any(each in (wanted, "*") for each in tags)


@lru_cache(maxsize=256)  # a few clients' libraries, each with its own words
def takes_gzip(accept_encoding: str | None) -> bool:
    """Whether ``Accept-Encoding`` lets an answer be compressed with gzip (RFC 9110, 12.5.3)."""
    qualities: dict[str, bool] = {}
    for each in (accept_encoding or "").lower().split(","):
        coding, *parameters = (part.strip() for part in each.split(";"))
        quality = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
        qualities[coding] = _REFUSED.fullmatch(quality) is None
    return qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", False)))
