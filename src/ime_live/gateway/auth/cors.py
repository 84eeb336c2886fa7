"""CORS (Fetch Standard, 3.2): headers that allow web pages to read responses. No I/O.

CORS does not apply to WebSockets: browsers let every page open one, with the header ``Origin``. So
a gateway can refuse the pages that are not in a list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

Headers = list[tuple[bytes, bytes]]

_LOOPBACK_WORD: Final = "loopback"

# Subdomains of localhost are loopback names, too (RFC 6761, 6.3).
_LOOPBACK: Final = re.compile(
    rb"https?://((?:[a-z0-9-]+\.)*localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?"
)

_ORIGIN: Final = b"access-control-allow-origin"
_VARY: Final = (b"vary", b"Origin")
_EXPOSE: Final = (b"access-control-expose-headers", b"ETag, Retry-After")
_PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, HEAD"),
    (
        b"access-control-allow-headers",
        b"Authorization, If-None-Match, Last-Event-ID, Content-Type, X-Requested-With",
    ),
    (b"access-control-max-age", b"3600"),
)


FOREIGN_ORIGIN: Final = "origin not allowed"
"""Reason for refusing the stream of a page that is not in the list."""


class Origins:
    """A list of web pages by their origins (RFC 6454, 7)."""

    def __init__(self, origins: Sequence[str]) -> None:
        """Make a list.

        Args:
            origins: origins as browsers send them; ``*`` for all, ``loopback`` for those of this
                machine.
        """
        self.all = "*" in origins
        self._loopback = _LOOPBACK_WORD in origins
        self._listed = frozenset(each.encode() for each in origins if each != _LOOPBACK_WORD)

    def __bool__(self) -> bool:
        return bool(self._listed) or self._loopback

    def __contains__(self, origin: bytes | None) -> bool:
        if self.all:
            return origin is not None
        if origin is None:
            return False
        is_loopback = self._loopback and _LOOPBACK.fullmatch(origin) is not None
        return is_loopback or origin in self._listed


class Cors:
    """The web pages that may read responses.

    A script sends its token in a header, and cookies are not used. So credentials, in the sense of
    the Fetch Standard, are not allowed, and no page can use the token of another page.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        """Allow these origins; see `Origins`."""
        self._origins = Origins(origins)

    def __bool__(self) -> bool:
        return bool(self._origins)

    def headers(self, origin: bytes | None) -> Headers:
        """Return the CORS headers of a response, including those of errors.

        Args:
            origin: the header ``Origin`` of the request; None without one.
        """
        if not self._origins:
            return []
        if self._origins.all:
            return [(_ORIGIN, b"*"), _EXPOSE]
        if origin is not None and origin in self._origins:
            return [(_ORIGIN, origin), _EXPOSE, _VARY]
        # A cache must not use this response for a page that is allowed.
        return [_VARY]

    def preflight(self, origin: bytes | None) -> Headers | None:
        """Return the headers of a 204 response to a preflight; None if the page is not allowed."""
        if origin not in self._origins:
            return None
        return [*self.headers(origin), *_PREFLIGHT]
