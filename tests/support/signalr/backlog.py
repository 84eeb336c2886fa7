"""Messages pushed by the test SignalR hub with their cursors, for clients that reconnect.

A cursor is opaque to clients, has characters that must be
encoded in a URL, and may be renumbered at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct


class _Pushed(Struct, rename={"cursor": "C", "messages": "M"}):
    messages: list[Raw]
    cursor: str = ""


class Backlog:
    """All messages since the SignalR hub was started."""

    def __init__(self) -> None:
        self._entries: list[tuple[str, list[Raw]]] = []
        self._series, self._number = 0x1A2B3C4D, 0x2A
        self._first = self._cursor()
        self._places: dict[str, int] = {self._first: 0}
        """By cursor: how many entries a client has that was given it."""

    def _cursor(self) -> str:
        return f"d-{self._series:X}-B,{self._number:X}|g,0|h,{len(self._entries) + 1}"

    @property
    def cursor(self) -> str:
        """The newest."""
        return self._entries[-1][0] if self._entries else self._first

    def renumber(self) -> None:
        """Number the next messages in another series, with lower cursors."""
        self._series, self._number = self._series ^ 0xFFFF, 1

    def append(self, frame: bytes | Sequence[Any]) -> bytes:
        """Add the messages of a frame, or messages as such; the frame to send."""
        if isinstance(frame, bytes):
            messages = msgspec.json.decode(frame, type=_Pushed).messages
        else:
            messages = [Raw(msgspec.json.encode(each)) for each in frame]
        self._number += 2  # as the exchange's: they grow, but not by one
        cursor = self._cursor()
        self._entries.append((cursor, messages))
        self._places[cursor] = len(self._entries)
        return self._frame(cursor, messages)

    def after(self, cursor: str) -> bytes | None:
        """Return all messages after a cursor in one frame, or None if there are none.

        A cursor that was never given out is followed by no message.
        """
        missed = self._entries[self._places.get(cursor, len(self._entries)) :]
        if not missed:
            return None
        return self._frame(missed[-1][0], [each for _, messages in missed for each in messages])

    @staticmethod
    def _frame(cursor: str, messages: Sequence[Raw]) -> bytes:
        joined = b",".join(bytes(each) for each in messages)
        return b'{"C":"%s","M":[%s]}' % (cursor.encode(), joined)

    def opening(self, delay: float) -> bytes:
        """The message that opens a connection; a LongPollDelay (seconds) goes with it."""
        wait = b"" if not delay else b'"L":%d,' % round(delay * 1000)
        return b'{"C":"%s","S":1,%s"M":[]}' % (self.cursor.encode(), wait)

    def moved(self) -> bytes:
        """The message of a server that shuts down."""
        return b'{"C":"%s","T":1,"M":[]}' % self.cursor.encode()

    def joined(self, groups: str) -> bytes:
        """The message to a client that was put into a group."""
        return b'{"C":"%s","G":"%s","M":[]}' % (self.cursor.encode(), groups.encode())

    def nothing(self) -> bytes:
        """The answer to a poll in whose time nothing came."""
        return self._frame(self.cursor, [])
