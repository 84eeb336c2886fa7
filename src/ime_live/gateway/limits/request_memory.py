"""Limit the memory of incomplete requests, because clients may never complete them. No I/O."""

from __future__ import annotations

from typing import Final

ALWAYS_TAKEN: Final = 16_384
"""Size up to which an incomplete request is never refused [bytes]. A head rarely has a tenth."""


class RequestMemory:
    """The total size of the incomplete requests of a process."""

    def __init__(self, limit: int) -> None:
        """Start without requests.

        Args:
            limit: maximum size of all incomplete requests together [bytes]; 0 sets no limit.
        """
        self.limit = limit
        """May be changed at any time."""
        self.buffered = 0
        """Present size of all incomplete requests together [bytes]."""

    def change(self, before: int, now: int) -> bool:
        """Note that the incomplete request of a connection has another size.

        Args:
            before: previous size [bytes].
            now: present size [bytes].

        Returns:
            Whether the size is allowed; if not, refuse the request, and change its size to 0.
        """
        self.buffered += now - before
        return now <= ALWAYS_TAKEN or not 0 < self.limit < self.buffered
