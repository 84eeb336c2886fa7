"""Find the end of a request's body, and skip it (RFC 9112, 6 and 7). No I/O.

Bodies are skipped because no endpoint uses one.
"""

from __future__ import annotations

import re
from typing import Final

from ime_live.gateway.http.request_head import RequestError, RequestHead, read_fields

_CONTENT_LENGTH: Final = re.compile(rb"[0-9]{1,19}")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")


def body_size(head: RequestHead) -> int | None:
    """Return the size of the body; None if it comes in chunks.

    Raises:
        RequestError: 400 or 501; the end of the body is ambiguous.
    """
    length = head.fields.get(b"content-length")
    if b"transfer-encoding" in head.fields:
        codings = [coding.lower() for coding in head.items(b"transfer-encoding")]
        if length is not None or head.version != "1.1" or codings[-1:] != ["chunked"]:
            raise RequestError(400, "The length of the request body must be given in one way only.")
        if codings != ["chunked"]:
            raise RequestError(501, "The only supported transfer coding is chunked.")
        return None
    if length is None:
        return 0
    if _CONTENT_LENGTH.fullmatch(length) is None:
        raise RequestError(400, "Content-Length must be one number of bytes.")
    return int(length)


class RequestBody:
    """Skips the body of a request."""

    __slots__ = ("_allowed", "_chunked", "_in_trailers", "_left", "_line_end")

    def __init__(self, size: int | None, limit: int) -> None:
        """Begin to skip a body.

        Args:
            size: size of the body [bytes]; None for a body in chunks.
            limit: maximum size of the body, with the lines of its chunks [bytes].
        """
        self._chunked = size is None
        self._allowed = limit
        self._left = 0
        """Number of missing bytes of the body, or of its present chunk."""
        self._line_end = b""
        """Line end that must come before the size of the next chunk; empty for the first one."""
        self._in_trailers = False
        self._expect(size or 0)

    def skip(self, received: bytearray) -> bool:
        """Remove the received part of the body, and return whether the body is complete.

        Raises:
            RequestError: 400 or 413; a chunk is malformed, or the body is too large.
        """
        while True:
            skipped = min(self._left, len(received))
            del received[:skipped]
            self._left -= skipped
            if self._left:
                return False
            if not self._chunked:
                return True
            line = self._next_line(received)
            if line is None:
                return False
            if not self._in_trailers:
                self._begin_chunk(line)
            elif line == b"\r\n":
                return True
            else:
                read_fields([line.removesuffix(b"\r\n")])

    def _begin_chunk(self, line: bytes) -> None:
        size = _CHUNK_SIZE.fullmatch(line.removeprefix(self._line_end))
        if size is None or not line.startswith(self._line_end):
            raise RequestError(400, "A chunk of the body is malformed.")
        self._line_end = b"\r\n"
        self._left = int(size[1], 16)
        self._in_trailers = self._left == 0
        self._expect(self._left)

    def _next_line(self, received: bytearray) -> bytes | None:
        end = received.find(b"\n", 0 if self._in_trailers else len(self._line_end)) + 1
        self._check(end or len(received))
        if not end:
            return None
        line = bytes(received[:end])
        del received[:end]
        self._allowed -= end
        return line

    def _expect(self, size: int) -> None:
        self._check(size)
        self._left = size
        self._allowed -= size

    def _check(self, size: int) -> None:
        if size > self._allowed:
            raise RequestError(413, "The request body is too large; no call needs one.")
