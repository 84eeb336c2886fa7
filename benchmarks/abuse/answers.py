"""Codes that a gateway sends on one connection: HTTP status codes, then close codes."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_LONGEST: Final = 16  # bytes of a status line that must stay together
_HEAD_END: Final = b"\r\n\r\n"
_CLOSE: Final = 0x8
_NO_CODE: Final = "1005"
"""The code of a close frame without one (RFC 6455, 7.4.1)."""


class Answers:
    """Counts codes in the bytes of one connection."""

    __slots__ = ("_codes", "_rest", "_streams", "closed", "count")

    def __init__(self, codes: Counter[str]) -> None:
        """Count in ``codes``, which all connections share."""
        self._codes = codes
        self._rest = b""
        self._streams = False
        self.count = 0
        """Answers of this connection."""
        self.closed = False
        """Whether the last of them is a close frame."""

    def feed(self, data: bytes) -> None:
        """Take received bytes."""
        data = self._rest + data
        if self._streams:
            self._rest = self._read_frames(data)
            return
        found = None
        for found in _STATUS.finditer(data):
            self._note(found[1].decode())
        if found is not None and found[1] == b"101":
            # Its head fits into one packet.
            self._streams = True
            self._rest = self._read_frames(data[found.end() :].partition(_HEAD_END)[2])
        else:
            self._rest = data[max(found.end() if found else 0, len(data) - _LONGEST) :]

    def _note(self, code: str) -> None:
        self._codes[code] += 1
        self.count += 1

    def _read_frames(self, data: bytes) -> bytes:
        """Look for a close frame; return what is incomplete."""
        position = 0
        while len(data) - position >= 2:
            length, start = data[position + 1], position + 2
            extended = {126: 2, 127: 8}.get(length, 0)
            if extended:
                start += extended
                length = int.from_bytes(data[start - extended : start])
            end = start + length
            if end > len(data):
                break
            if data[position] & 0x0F == _CLOSE:
                code = int.from_bytes(data[start : start + 2])
                self._note(str(code) if code else _NO_CODE)
                self.closed = True
            position = end
        return data[position:]
