"""Abuse by single messages and requests that are huge, or become huge."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import repeat
from typing import Final

from benchmarks.abuse.kind import TEXT, Kind, Target, frame, frame_head
from benchmarks.abuse.slow_clients import MAX_REQUEST
from benchmarks.publications import STREAM

_CHUNK: Final = bytes(65_536)
_ANNOUNCED: Final = 1 << 40


def _deflated(size: int) -> bytes:
    """A compressed message of zeros (RFC 7692, 7.2.1)."""
    compressor = zlib.compressobj(9, wbits=-15)
    text = compressor.compress(b"0" * size) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return text.removesuffix(b"\x00\x00\xff\xff")


# A thousandth of its size; more than the gateway takes of what is not compressed.
_BOMB: Final = frame(TEXT, _deflated(4_000_000), compressed=True)


def _inflating(target: Target, number: int) -> Iterator[bytes]:
    offer = "Sec-WebSocket-Extensions: permessage-deflate"
    yield target.handshake(number, "", offer) + _BOMB


def _giant(target: Target, number: int) -> Iterator[bytes]:
    yield target.handshake(number) + frame_head(0x80 | TEXT, _ANNOUNCED) + bytes(4)
    yield from repeat(_CHUNK)


def _huge_head(target: Target, number: int) -> Iterator[bytes]:
    yield target.handshake(number, "", "X-Large: " + "z" * MAX_REQUEST)


def _many_fields(target: Target, number: int) -> Iterator[bytes]:
    """Nearly as many header fields as fit."""
    yield target.handshake(number, "", *(f"x{n:x}:" for n in range(16_000)))


def _many_contracts(target: Target, number: int) -> Iterator[bytes]:
    """Ten thousand contracts, which just fit."""
    query = "&".join(f"contract_ids={n}" for n in range(6_900))
    yield target.handshake(number, STREAM.replace("/name?", "/id?") + query)


def _ten_thousand(target: Target, number: int) -> Iterator[bytes]:
    query = "&".join(f"contract_ids={n}" for n in range(10_000))
    yield target.handshake(number, STREAM.replace("/name?", "/id?") + query)


def _bodies(target: Target, number: int) -> Iterator[bytes]:
    bearer = f"Authorization: Bearer {target.token(number)}"
    path = "/live/data/overview/contract/id?contract_ids=1"
    yield from repeat(target.request(path, bearer, body=bytes(MAX_REQUEST)))


def _huge_bodies(target: Target, number: int) -> Iterator[bytes]:
    del number
    yield target.request("/health", "Content-Length: 10000000000")
    yield from repeat(_CHUNK)


BOMBS: Final = (
    Kind(
        "inflating",
        "sends 4 kB that become 4 MB (permessage-deflate)",
        100,
        _inflating,
        frozenset({"1009"}),
    ),
    Kind("giant", "sends a frame of 1 TB", 100, _giant, frozenset({"1009"})),
    Kind("hugehead", "sends a head above the limit", 100, _huge_head, frozenset({"431"})),
    Kind(
        "tenthousand",
        "asks for a stream of 10,000 contracts",
        100,
        _ten_thousand,
        frozenset({"431"}),
    ),
    Kind("hugebodies", "sends a body of 10 GB", 100, _huge_bodies, frozenset({"413"})),
    Kind(
        "fields",
        "sends a handshake with 16,000 header fields",
        100,
        _many_fields,
        frozenset({"431"}),
        holds=2 * MAX_REQUEST,
    ),
    Kind(
        "contracts",
        "asks for a stream of 6,900 contracts: a head below the limit",
        100,
        _many_contracts,
        frozenset({"1008"}),
        holds=2 * MAX_REQUEST,
    ),
    Kind(
        "bodies",
        "sends REST calls with bodies of 128 KiB",
        100,
        _bodies,
        frozenset({"200", "429"}),
        awaits=True,
        holds=2 * MAX_REQUEST,
    ),
)
