"""Events: parse a server-sent event stream.

Lines are split as bytes, because httpx also ends lines at U+2028 and other characters that JSON may
contain.
"""

from __future__ import annotations

from typing import Final

from ime_live.errors import FeedError

MAX_EVENT: Final = 16 * 1024 * 1024
"""Bytes of the largest event or frame that is read. The whole market takes 2 MB."""

_BOM: Final = b"\xef\xbb\xbf"


class EventParser:
    """Parses one stream, piece by piece."""

    def __init__(self, limit: int = MAX_EVENT) -> None:
        """Create a parser for a new stream; ``limit`` is the size of an event in bytes."""
        self._limit = limit
        self._line = bytearray()  # that has no end yet
        self._data: list[bytes] = []  # of the event that has no end yet
        self._size = 0  # of both
        self._begun = False

    def feed(self, piece: bytes) -> list[bytes]:
        """Add bytes, and return the data of the events that they complete.

        Raises:
            FeedError: an event is larger than the limit.
        """
        events: list[bytes] = []
        *ends, rest = piece.split(b"\n")
        for end in ends:
            self._grow(end)
            line = bytes(self._line).removesuffix(b"\r")
            self._line.clear()
            if not self._begun:
                line = line.removeprefix(_BOM)
                self._begun = True
            if line:
                self._take(line)
            else:
                if self._data:
                    events.append(b"\n".join(self._data))
                self._data.clear()
                self._size = 0
        self._grow(rest)
        return events

    def _grow(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit:
            raise FeedError(f"an event is larger than {self._limit} bytes")
        self._line += part

    def _take(self, line: bytes) -> None:
        # SignalR sends neither other fields (event, id, retry) nor comments.
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
