"""Kinds of abuse: what each connection of an abuser sends, and what the gateway should answer."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.publications import query_of

TEXT: Final = 0x1
CONTINUATION: Final = 0x0
PING: Final = 0x9

# The base64 of sixteen bytes, as RFC 6455, 4.1, demands; a gateway need not see different ones.
_UPGRADE: Final = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)


@dataclass(frozen=True)
class Target:
    """A gateway that is attacked.

    Attributes:
        port: of this machine.
        tokens: good ones, each of a subject of its own.
        contract: number of the contract that changes all the time.
    """

    port: int
    tokens: Sequence[str]
    contract: int

    def token(self, number: int) -> str:
        """A good token for the connection with this number."""
        return self.tokens[number % len(self.tokens)]

    @property
    def stream(self) -> str:
        """Path of a stream of the contract that changes."""
        return query_of([self.contract])

    def request(self, path: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
        """A whole request."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    def handshake(self, number: int, path: str = "", *headers: str) -> bytes:
        """A WebSocket handshake with a good token."""
        bearer = f"Authorization: Bearer {self.token(number)}"
        return self.request(path or self.stream, *_UPGRADE, bearer, *headers)

    def badly_signed(self, number: int) -> bytes:
        """A WebSocket handshake with a token whose signature is wrong, another one each time."""
        head, _, signature = self.token(number).rpartition(".")
        wrong = f"{head}{number}.{signature}"
        return self.request(self.stream, *_UPGRADE, f"Authorization: Bearer {wrong}")


Pieces = Callable[[Target, int], Iterator[bytes]]
"""The bytes that the connection with a number sends, piece by piece; an empty piece closes it."""


@dataclass(frozen=True)
class Kind:
    """One kind of abuse.

    Attributes:
        name: on the command line.
        title: what each connection does.
        connections: at the same time; one that has ended is opened again.
        pieces: sent on each connection.
        answers: HTTP status codes and close codes, of which the gateway gives at least one; empty
            if it has no reason to answer.
        every: seconds between two pieces; 0 sends as fast as the gateway takes them.
        awaits: whether a piece waits for an answer to the one before.
        stays: whether it ignores a close frame; else it connects again at once.
        reads: whether everything is read; else only the first answer, with a small window.
        holds: bytes that the gateway may hold per connection, beside those of a well-behaved one.
    """

    name: str
    title: str
    connections: int
    pieces: Pieces
    answers: frozenset[str]
    every: float = 0.0
    awaits: bool = False
    stays: bool = False
    reads: bool = True
    holds: int = 16_384


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, compressed: bool = False
) -> bytes:
    """A masked frame of a client (RFC 6455, 5.2); its mask changes nothing."""
    first = opcode | (0x80 if fin else 0) | (0x40 if compressed else 0)
    return frame_head(first, len(payload)) + bytes(4) + payload


def frame_head(first: int, size: int) -> bytes:
    """The first bytes of a masked frame, before its mask."""
    if size < 126:
        return bytes((first, 0x80 | size))
    if size < 65_536:
        return bytes((first, 0x80 | 126)) + struct.pack("!H", size)
    return bytes((first, 0x80 | 127)) + struct.pack("!Q", size)
