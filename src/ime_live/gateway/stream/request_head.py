"""Read HTTP/1.1 requests from bytes (RFC 9112). No I/O.

`RequestReader` is fed the bytes of a connection and returns one request after the other. A head is
parsed once, when it is complete, by one grammar. So the end of a request and its meaning cannot
be read differently. Bodies are skipped, since no call takes one.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from http import HTTPMethod
from typing import Final

from msgspec import Struct

from ime_live.errors import ImeLiveError

_METHODS: Final = frozenset(method.value.encode() for method in HTTPMethod)

_TOKEN_BYTES: Final = b"!#$%&'*+-.^_`|~" + (string.ascii_letters + string.digits).encode()
_FIELD_BYTES: Final = b"\t" + bytes(byte for byte in range(0x20, 0x100) if byte != 0x7F)
_BLANKS: Final = b" \t"

# A request with an invalid method is refused before its head is complete: a TLS client on this
# port, for example, sends nothing more until it gets an answer.
_METHOD: Final = re.compile(rb"[%b]{1,32}(?: |\Z)" % re.escape(_TOKEN_BYTES))
_REQUEST_LINE: Final = re.compile(rb"([^ ]+) ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])")
_EMPTY_LINES: Final = re.compile(rb"(?:\r\n)*")
# A head with bare line feeds ends here too, so that it is refused and not waited for.
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")

_ABSOLUTE_FORM: Final = re.compile(rb"(?:https?|wss?)://([^/?#]*)", re.IGNORECASE)
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Za-z:.%~_\-]+\]|[0-9A-Za-z\-._~%!$&'()*+,;=]*)(?::[0-9]*)?"  # RFC 3986, 3.2.2
)
_NOT_ASCII: Final = re.compile(rb"[\x80-\xff]")

_CONTENT_LENGTH: Final = re.compile(rb"[0-9]{1,19}")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")

# These fields have one value, and the first line counts. The lines of any other field form one
# list (RFC 9110, 5.3).
_SINGLE: Final = frozenset({b"authorization", b"last-event-id", b"origin"})


class RequestError(ImeLiveError):
    """A request that cannot be answered, and after which its connection cannot be read.

    Attributes:
        status: HTTP status of the response.
        text: body of the response, for people.
    """

    def __init__(self, status: int, text: str = "Invalid HTTP request received.") -> None:
        self.status = status
        self.text = text
        super().__init__(f"{status} {text}")


class RequestHead(Struct, frozen=True):
    """The request line and the header fields of a request.

    Attributes:
        method: one of `http.HTTPMethod`.
        path: percent-encoded; ``*`` for the server as a whole.
        query: percent-encoded, without the question mark.
        version: ``1.0``, or ``1.1`` for 1.1 and later.
        fields: values by lower-case name, without surrounding blanks. Repeated ones are joined
            by commas.
    """

    method: str
    path: str
    query: str
    version: str
    fields: Mapping[bytes, bytes]

    def field(self, name: bytes) -> str | None:
        """Return the value of a field, in Latin-1; None if it is missing."""
        value = self.fields.get(name)
        return None if value is None else value.decode("latin-1")

    def items(self, name: bytes) -> list[str]:
        """Return the elements of a list field, without empty ones."""
        value = self.field(name) or ""
        return [item for part in value.split(",") if (item := part.strip(" \t"))]

    def names(self, name: bytes, token: bytes) -> bool:
        """Return whether a list field has this lower-case element, in any case."""
        value = self.fields.get(name)
        return value is not None and any(
            item.strip(_BLANKS).lower() == token for item in value.split(b",")
        )

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow on the connection."""
        return self.version == "1.1" and not self.names(b"connection", b"close")

    @property
    def is_handshake(self) -> bool:
        """Whether it offers to upgrade to WebSocket. An offer in HTTP/1.0 does not count."""
        return (
            b"upgrade" in self.fields
            and self.version == "1.1"
            and self.names(b"connection", b"upgrade")
            and self.names(b"upgrade", b"websocket")
        )


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
        """Bytes already searched for the end of the head."""
        self._skipped = 0
        """Bytes of empty lines before the next head."""
        self._head: RequestHead | None = None
        """Head of the request whose body is being skipped."""
        self._body: _Body
        self.awaits_continue = False
        """Whether the client waits for "100 Continue" before the body (RFC 9110, 10.1.1)."""

    @property
    def begun(self) -> bool:
        """Whether a request has begun to arrive."""
        return bool(self._received) or self._head is not None

    def feed(self, data: bytes) -> None:
        """Take received bytes."""
        self._received += data

    def take_rest(self) -> bytes:
        """Return the bytes after the last request, for the protocol that takes over."""
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
            size = _body_size(head)
            if size == 0:
                self._head = None
                return head
            self._body = _Body(size, self._limit)
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
        found = _BLANK_LINE.search(received, max(0, self._searched - 2))
        end = len(received) if found is None else found.end()
        if end > self._limit:
            raise RequestError(431, f"The request line and headers exceed {self._limit} bytes.")
        if found is None:
            self._searched = end
            return None
        head = read_head(bytes(received[:end]))
        del received[:end]
        self._searched = self._skipped = 0
        return head


def read_head(data: bytes) -> RequestHead:
    """Parse a complete head, including the empty line at its end.

    Raises:
        RequestError: 400, 501 or 505; the head is invalid or not supported.
    """
    line, *lines = data.removesuffix(b"\r\n\r\n").split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    # A bare line feed or carriage return stays inside a line.
    if match is None or not data.endswith(b"\r\n\r\n"):
        raise RequestError(400)
    method, target, major, minor = match.groups()
    if major != b"1":
        raise RequestError(505, "This server speaks HTTP/1.1.")
    if method not in _METHODS:
        raise RequestError(501, "This method is not known here.")
    fields = _read_fields(lines)
    host = fields.get(b"host")
    if host is None and minor != b"0":
        raise RequestError(400, "An HTTP/1.1 request must have a Host header, got none.")
    if host and _HOST.fullmatch(host) is None:
        raise RequestError(400, "A request must have one Host header, which names one host.")
    if absolute := _ABSOLUTE_FORM.match(target):
        if not absolute[1] or _HOST.fullmatch(absolute[1]) is None:
            raise RequestError(400, "The URL in a request line must name a host.")
        # RFC 9112, 3.2.2: this host replaces the one in the header.
        fields[b"host"] = absolute[1]
        target = target[absolute.end() :]
        if not target.startswith(b"/"):
            target = b"/" + target
    elif not (target.startswith(b"/") or (target == b"*" and method == b"OPTIONS")):
        raise RequestError(400, "The request target must be a path or an absolute URL.")
    if not target.isascii():
        # Persian letters should come percent-encoded, but not every client knows that.
        target = _NOT_ASCII.sub(lambda found: b"%%%02X" % found[0][0], target)
    path, _, query = target.decode().partition("?")
    return RequestHead(method.decode(), path, query, "1.0" if minor == b"0" else "1.1", fields)


def _read_fields(lines: list[bytes]) -> dict[bytes, bytes]:
    fields: dict[bytes, bytes] = {}
    repeated: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not (colon and name):
            raise RequestError(400)
        name, value = name.lower(), value.strip(_BLANKS)
        if name not in fields:
            fields[name] = value
        elif name not in _SINGLE:
            repeated.setdefault(name, [fields[name]]).append(value)
    for name, values in repeated.items():
        fields[name] = b", ".join(values)
    # One check for all: a blank before a colon or a folded line shows up in a name, a control
    # character in a name or a value.
    if b"".join(fields).translate(None, _TOKEN_BYTES):
        raise RequestError(400)
    if b"".join(lines).translate(None, _FIELD_BYTES):
        raise RequestError(400)
    return fields


def _body_size(head: RequestHead) -> int | None:
    """Return the size of the body; None if it comes in chunks.

    Raises:
        RequestError: 400 or 501; the end of the body is ambiguous.
    """
    length = head.fields.get(b"content-length")
    if b"transfer-encoding" in head.fields:
        codings = [coding.lower() for coding in head.items(b"transfer-encoding")]
        if length is not None or head.version != "1.1" or codings[-1:] != ["chunked"]:
            raise RequestError(400, "Where the request's body ends must be told in one way.")
        if codings != ["chunked"]:
            raise RequestError(501, "No transfer coding but chunked is known here.")
        return None
    if length is None:
        return 0
    if _CONTENT_LENGTH.fullmatch(length) is None:
        raise RequestError(400, "Content-Length must be one number of bytes.")
    return int(length)


class _Body:
    """Skips the body of a request."""

    __slots__ = ("_allowed", "_chunked", "_in_trailers", "_left", "_line_end")

    def __init__(self, size: int | None, limit: int) -> None:
        """Begin to skip ``size`` bytes, or chunks if it is None, of at most ``limit`` bytes."""
        self._chunked = size is None
        self._allowed = limit
        self._left = 0
        """Bytes still to come of the body, or of its present chunk."""
        self._line_end = b""
        """Line end of the chunk before the one whose size comes next."""
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
                _read_fields([line.removesuffix(b"\r\n")])

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
            raise RequestError(413, "The request's body is too large: no call takes one.")
