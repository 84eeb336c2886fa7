"""Make the CORS headers of responses, so that allowed web pages may read them.

It follows the Fetch standard, 3.2. No I/O. WebSockets need none of it: browsers let every page
open one, and say in `Origin` which one it is; a gateway may refuse those that it does not list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

Headers = list[tuple[bytes, bytes]]

_OF_THIS_MACHINE: Final = "loopback"

# Names below localhost are this machine as well: RFC 6761, 6.3.
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
"""Why the stream of a page is refused that is not in the list."""


class Origins:
    """A list of web pages, by their origins as browsers send them (RFC 6454, 7)."""

    def __init__(self, origins: Sequence[str]) -> None:
        """Make a list.

        Args:
            origins: as browsers send them; ``*`` for all, ``loopback`` for those of this machine.
        """
        self.all = "*" in origins
        self._loopback = _OF_THIS_MACHINE in origins
        self._listed = frozenset(each.encode() for each in origins if each != _OF_THIS_MACHINE)

    def __bool__(self) -> bool:
        return bool(self._listed) or self._loopback

    def __contains__(self, origin: bytes | None) -> bool:
        if self.all:
            return origin is not None
        if origin is None:
            return False
        local = self._loopback and _LOOPBACK.fullmatch(origin) is not None
        return local or origin in self._listed


class Cors:
    """The web pages that may read responses.

    Tokens come in a header that a script sets, never in a cookie. So credentials in the sense of
    the Fetch standard are not requested, and allowing all pages gives none of them a token.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        """Allow these origins; see `Origins`."""
        self._origins = Origins(origins)

    def __bool__(self) -> bool:
        return bool(self._origins)

    def headers(self, origin: bytes | None) -> Headers:
        """Return the headers that every response gets, including errors.

        Args:
            origin: origin of the request; None if it has none.
        """
        if not self._origins:
            return []
        if self._origins.all:
            return [(_ORIGIN, b"*"), _EXPOSE]
        if origin is not None and origin in self._origins:
            return [(_ORIGIN, origin), _EXPOSE, _VARY]
        # A cache must not give this response to a page that is allowed.
        return [_VARY]

    def preflight(self, origin: bytes | None) -> Headers | None:
        """Return the headers of a 204 that answers a preflight; None if the page is not allowed."""
        if origin not in self._origins:
            return None
        return [*self.headers(origin), *_PREFLIGHT]
