"""Read one HTTP/1.1 request after the other from the bytes of a connection (RFC 9112). No I/O."""

from __future__ import annotations

import re
from typing import Final

from ime_live.gateway.http.request_body import RequestBody, body_size
from ime_live.gateway.http.request_head import (
    TOKEN_BYTES,
    RequestError,
    RequestHead,
    read_head,
)

# A request with an invalid method is refused before its head is complete. A TLS client on this
# port, for example, sends nothing more before it gets an answer.
_METHOD: Final = re.compile(rb"[%b]{1,32}(?: |\Z)" % re.escape(TOKEN_BYTES))
_EMPTY_LINES: Final = re.compile(rb"(?:\r\n)*")
# This also ends a head with bare line feeds, which is then refused. Without it the reader would
# wait for more.
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")


class RequestReader:
    """Reads the requests of one connection, one after the other."""

    __slots__ = (
        "_body",
        "_head",
        "_limit",
        "_received",
        "_searched",
        "_skipped",
        "awaits_continue",
    )

    def __init__(self, limit: int) -> None:
        """Make a reader.

        Args:
            limit: maximum size of a head, and of a body [bytes].
        """
        self._limit = limit
        self._received = bytearray()
        self._searched = 0
        """Number of bytes that were searched for the end of the head."""
        self._skipped = 0
        """Size of the empty lines before the next head [bytes]."""
        self._head: RequestHead | None = None
        """Head of the request whose body is being skipped."""
        self._body: RequestBody
        self.awaits_continue = False
        """Whether the client waits for "100 Continue" before the body (RFC 9110, 10.1.1)."""

    @property
    def has_begun(self) -> bool:
        """Whether a part of the next request has arrived."""
        return bool(self._received) or self._head is not None

    @property
    def size(self) -> int:
        """Size of the buffered bytes, which are part of the next requests [bytes]."""
        return len(self._received)

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._received += data

    def take_rest(self) -> bytes:
        """Remove and return the bytes after the last request."""
        rest = bytes(self._received)
        self._received.clear()
        return rest

    def next_request(self) -> RequestHead | None:
        """Return the next request if it is complete, else None.

        Raises:
            RequestError: the bytes are not a request, or the request is too large.
        """
        if self._head is None:
            self._head = head = self._next_head()
            if head is None:
                return None
            size = body_size(head)
            if size == 0:
                self._head = None
                return head
            self._body = RequestBody(size, self._limit)
            expects = head.fields.get(b"expect", b"").lower() == b"100-continue"
            self.awaits_continue = expects and head.version == "1.1"
        if not self._body.skip(self._received):
            return None
        head, self._head = self._head, None
        self.awaits_continue = False
        return head

    def _next_head(self) -> RequestHead | None:
        received = self._received
        if received.startswith(b"\r"):
            # RFC 9112, 2.2: a client may send empty lines before a request.
            blank = _EMPTY_LINES.match(received, 0, self._limit)
            size = blank.end() if blank else 0
            del received[:size]
            self._skipped += size
            if self._skipped >= self._limit:
                raise RequestError(400, "Too many empty lines come before a request.")
        if not received or received == b"\r":
            return None
        if _METHOD.match(received) is None:
            raise RequestError(400)
        blank_line = _BLANK_LINE.search(received, max(0, self._searched - 2))
        end = len(received) if blank_line is None else blank_line.end()
        if end > self._limit:
            raise RequestError(431, f"The request line and headers exceed {self._limit} bytes.")
        if blank_line is None:
            self._searched = end
            return None
        head = read_head(bytes(received[:end]))
        del received[:end]
        self._searched = self._skipped = 0
        return head
