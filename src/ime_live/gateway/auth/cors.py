"""Cors: which web pages' scripts may read the answers of plain HTTP.

An ``Origin`` comes in, the headers that a browser looks for go out (the Fetch standard, 3.2).
Pure. Streams are not its matter: browsers let every page open a WebSocket.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

Headers = list[tuple[bytes, bytes]]

_OF_THIS_MACHINE: Final = "loopback"

# Names below localhost lead to this machine as well: RFC 6761, 6.3.
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


class Cors:
    """The pages that are let in.

    Tokens come in a header that a script sets, never in a cookie, so credentials in the sense of
    the Fetch standard are not asked for, and letting all pages in gives none of them a token.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        """Let these origins in.

        Args:
            origins: as browsers send them; ``*`` for all, ``loopback`` for those of this machine.
        """
        self._all = "*" in origins
        self._loopback = _OF_THIS_MACHINE in origins
        self._origins = frozenset(each.encode() for each in origins if each != _OF_THIS_MACHINE)

    def _lets_in(self, origin: bytes | None) -> bool:
        if origin is None:
            return False
        local = self._loopback and _LOOPBACK.fullmatch(origin) is not None
        return self._all or local or origin in self._origins

    def headers(self, origin: bytes | None) -> Headers:
        """What every answer gets, an error as well.

        Args:
            origin: of the request; None if it has none.
        """
        if not (self._origins or self._loopback):
            return []
        if self._all:
            return [(_ORIGIN, b"*"), _EXPOSE]
        if origin is not None and self._lets_in(origin):
            return [(_ORIGIN, origin), _EXPOSE, _VARY]
        # A cache must not give this answer to a page that is let in.
        return [_VARY]

    def preflight(self, origin: bytes | None) -> Headers | None:
        """The answer to a preflight request, which is a 204; None if the page is not let in."""
        if not self._lets_in(origin):
            return None
        return [*self.headers(origin), *_PREFLIGHT]
