"""HTTP/1.1 requests, read from bytes (RFC 9112). No I/O.

`RequestReader` is fed what a connection receives and gives out one request after the other. A head
is read once, when it is whole, by one grammar, so that what tells where a request ends cannot
differ from what tells what it asks for. Bodies are skipped, since no call takes one.
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

# What is no method cannot become a request, so it is refused before the rest of the head is there:
# a TLS client on this port, for example, sends nothing more until it is answered.
_METHOD: Final = re.compile(rb"[%b]{1,32}(?: |\Z)" % re.escape(_TOKEN_BYTES))
_REQUEST_LINE: Final = re.compile(rb"([^ ]+) ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])")
_EMPTY_LINES: Final = re.compile(rb"(?:\r\n)*")
# A head with bare line feeds ends here too, and is refused then, rather than waited for.
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")

_ABSOLUTE_FORM: Final = re.compile(rb"(?:https?|wss?)://([^/?#]*)", re.IGNORECASE)
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Za-z:.%~_\-]+\]|[0-9A-Za-z\-._~%!$&'()*+,;=]*)(?::[0-9]*)?"  # RFC 3986, 3.2.2
)
_NOT_ASCII: Final = re.compile(rb"[\x80-\xff]")

_CONTENT_LENGTH: Final = re.compile(rb"[0-9]{1,19}")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")

# Of these a request has one value, and of several the first counts. The lines of any other field
# are one list (RFC 9110, 5.3).
_SINGLE: Final = frozenset({b"authorization", b"last-event-id", b"origin"})


class RequestError(ImeLiveError):
    """A request that cannot be answered, and after which its connection cannot be read.

    Attributes:
        status: the HTTP status that says so.
        text: what is wrong, for people.
    """

    def __init__(self, status: int, text: str = "Invalid HTTP request received.") -> None:
        self.status = status
        self.text = text
        super().__init__(f"{status} {text}")


class RequestHead(Struct, frozen=True):
    """The request line and the header fields of a request.

    Attributes:
        method: one of `http.HTTPMethod`.
        path: percent-encoded; ``*`` if the server as a whole is meant.
        query: percent-encoded, without the question mark.
        version: ``1.0``, or ``1.1`` for that and whatever comes after it.
        fields: by lower-case name, without the blanks around the values. Repeated ones are joined
            by commas.
    """

    method: str
    path: str
    query: str
    version: str
    fields: Mapping[bytes, bytes]

    def field(self, name: bytes) -> str | None:
        """The value of a field, in Latin-1; None if it is not there."""
        value = self.fields.get(name)
        return None if value is None else value.decode("latin-1")

    def items(self, name: bytes) -> list[str]:
        """The elements of a field that is a list, without empty ones."""
        value = self.field(name) or ""
        return [item for part in value.split(",") if (item := part.strip(" \t"))]

    def names(self, name: bytes, token: bytes) -> bool:
        """Whether a field that is a list has this element, in upper or lower case."""
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
        """Whether it offers to upgrade to WebSocket. In HTTP/1.0 such an offer does not count."""
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
            limit: bytes of the largest head, and of the largest body.
        """
        self._limit = limit
        self._received = bytearray()
        self._searched = 0
        """Bytes in which no head ends."""
        self._skipped = 0
        """Bytes of empty lines before the next head."""
        self._head: RequestHead | None = None
        """Of the request whose body is being skipped."""
        self._body: _Body
        self.awaits_continue = False
        """Whether the client sends a body only when it is told to (RFC 9110, 10.1.1)."""

    @property
    def begun(self) -> bool:
        """Whether a part of a request is there."""
        return bool(self._received) or self._head is not None

    def feed(self, data: bytes) -> None:
        """Take what has been received."""
        self._received += data

    def take_rest(self) -> bytes:
        """What has been received after the last request, for whoever reads on."""
        rest = bytes(self._received)
        self._received.clear()
        return rest

    def next_request(self) -> RequestHead | None:
        """The next request, once it is whole; None if more of it is to come.

        Raises:
            RequestError: what has been received is no request, or one that is too large.
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
    """Read a whole head, the empty line at its end included.

    Raises:
        RequestError: 400, 501 or 505; it is not one.
    """
    line, *lines = data.removesuffix(b"\r\n\r\n").split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    # A bare line feed, or a bare carriage return, is left in a line.
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
        # RFC 9112, 3.2.2: this host counts instead of the header's.
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
    # At once for all of them: a blank before a colon or a folded line is in a name, a control
    # character in a name or a value.
    if b"".join(fields).translate(None, _TOKEN_BYTES):
        raise RequestError(400)
    if b"".join(lines).translate(None, _FIELD_BYTES):
        raise RequestError(400)
    return fields


def _body_size(head: RequestHead) -> int | None:
    """Bytes of the body; None if it comes in chunks.

    Raises:
        RequestError: 400 or 501; where the body ends could be understood in two ways.
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
    """A request's body, which is thrown away as it comes."""

    __slots__ = ("_allowed", "_chunked", "_in_trailers", "_left", "_line_end")

    def __init__(self, size: int | None, limit: int) -> None:
        """Begin to skip ``size`` bytes, or chunks if it is None, of at most ``limit`` bytes."""
        self._chunked = size is None
        self._allowed = limit
        self._left = 0
        """Bytes to come of the body, or of its present chunk."""
        self._line_end = b""
        """What ends the chunk before the one whose size comes next."""
        self._in_trailers = False
        self._expect(size or 0)

    def skip(self, received: bytearray) -> bool:
        """Take away what is there of the body; whether that was all of it.

        Raises:
            RequestError: 400 or 413; a chunk is malformed, or the body too large.
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
