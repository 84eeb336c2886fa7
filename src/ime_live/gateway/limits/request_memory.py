"""Limit the memory of requests that have begun to arrive: clients may never send their end.

No I/O.
"""

from __future__ import annotations

from typing import Final

ALWAYS_TAKEN: Final = 16_384
"""Bytes of a request that is never refused. Heads rarely have a tenth of it."""


class RequestMemory:
    """The incomplete requests of a process, by their size."""

    def __init__(self, limit: int) -> None:
        """Start without requests.

        Args:
            limit: see `limit`.
        """
        self.limit = limit
        """Most of all requests together [bytes]; 0 sets no limit."""
        self.held = 0
        """Bytes of incomplete requests now."""

    def change(self, before: int, now: int) -> bool:
        """Note that a connection holds more or less of an incomplete request.

        Args:
            before: bytes that it held until now.
            now: bytes that it holds from now on.

        Returns:
            Whether it may hold them; if not, refuse the request, and release them.
        """
        self.held += now - before
        return now <= ALWAYS_TAKEN or not 0 < self.limit < self.held
