"""Parse the head of an HTTP/1.1 request: request line and fields (RFC 9110, RFC 9112). No I/O.

A head is parsed once, when it is complete. So two parsers cannot disagree about the end of a
request, which would allow request smuggling.
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

TOKEN_BYTES: Final = b"!#$%&'*+-.^_`|~" + (string.ascii_letters + string.digits).encode()
_FIELD_BYTES: Final = b"\t" + bytes(byte for byte in range(0x20, 0x100) if byte != 0x7F)
_BLANKS: Final = b" \t"

MAX_FIELDS: Final = 200
"""Maximum number of header fields of a request. Browsers and proxies send about thirty."""

_REQUEST_LINE: Final = re.compile(rb"([^ ]+) ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])")
_ABSOLUTE_FORM: Final = re.compile(rb"(?:https?|wss?)://([^/?#]*)", re.IGNORECASE)
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Za-z:.%~_\-]+\]|[0-9A-Za-z\-._~%!$&'()*+,;=]*)(?::[0-9]*)?"  # RFC 3986, 3.2.2
)
_NOT_ASCII: Final = re.compile(rb"[\x80-\xff]")

# Fields with a single value: the first line counts. The lines of any other field form one list
# (RFC 9110, 5.3).
_SINGLE: Final = frozenset({b"authorization", b"last-event-id", b"origin"})


class RequestError(ImeLiveError):
    """A request that cannot be parsed or is refused; its connection must be closed.

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
        path: the path, percent-encoded; ``*`` for the server as a whole.
        query: the query string, percent-encoded, without the question mark.
        version: ``1.0``, or ``1.1`` for 1.1 and later.
        fields: header fields by lower-case name, without surrounding blanks. The values of a
            repeated field are joined by commas.
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
        value = self.field(name)
        if not value:
            return []
        return [item for part in value.split(",") if (item := part.strip(" \t"))]

    def has_token(self, name: bytes, token: bytes) -> bool:
        """Return whether a list field has an element, regardless of case.

        Args:
            name: lower-case name of the field.
            token: the element, in lower case.
        """
        value = self.fields.get(name)
        if value is None or value.lower() == token:
            return value is not None
        return any(item.strip(_BLANKS).lower() == token for item in value.split(b","))

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow on the connection."""
        return self.version == "1.1" and not self.has_token(b"connection", b"close")

    @property
    def is_handshake(self) -> bool:
        """Whether the request is a WebSocket handshake. HTTP/1.0 does not support upgrades."""
        return (
            b"upgrade" in self.fields
            and self.version == "1.1"
            and self.has_token(b"connection", b"upgrade")
            and self.has_token(b"upgrade", b"websocket")
        )


def read_head(data: bytes) -> RequestHead:
    """Parse a complete head, including the empty line at its end.

    Raises:
        RequestError: 400, 431, 501 or 505; the head is invalid or not supported.
    """
    line, *lines = data.removesuffix(b"\r\n\r\n").split(b"\r\n")
    if len(lines) > MAX_FIELDS:
        text = f"A request may have at most {MAX_FIELDS} header fields, got {len(lines)}."
        raise RequestError(431, text)
    match = _REQUEST_LINE.fullmatch(line)
    # A bare line feed or carriage return stays inside a line.
    if match is None or not data.endswith(b"\r\n\r\n"):
        raise RequestError(400)
    method, target, major, minor = match.groups()
    if major != b"1":
        raise RequestError(505, "This server speaks HTTP/1.1.")
    if method not in _METHODS:
        raise RequestError(501, "The request method is not supported.")
    fields = read_fields(lines)
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
        # Persian letters should be percent-encoded, but not every client does so.
        target = _NOT_ASCII.sub(lambda match: b"%%%02X" % match[0][0], target)
    path, _, query = target.decode().partition("?")
    return RequestHead(method.decode(), path, query, "1.0" if minor == b"0" else "1.1", fields)


def read_fields(lines: list[bytes]) -> dict[bytes, bytes]:
    """Parse the lines of header fields: lower-case name → value.

    Raises:
        RequestError: 400; a line is malformed.
    """
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
    # One check for all lines: it finds a blank before a colon and a folded line in a name, and a
    # control character in a name or a value.
    if b"".join(fields).translate(None, TOKEN_BYTES):
        raise RequestError(400)
    if b"".join(lines).translate(None, _FIELD_BYTES):
        raise RequestError(400)
    return fields
