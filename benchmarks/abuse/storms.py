"""Abuse by connections that come and go as fast as they can."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Final

from benchmarks.abuse.kind import Kind, Target

_CLOSE: Final = b""
_numbers: Final = count()


def _bad_tokens(target: Target, number: int) -> Iterator[bytes]:
    del number
    yield target.badly_signed(next(_numbers))
    yield _CLOSE


def _good_tokens(target: Target, number: int) -> Iterator[bytes]:
    yield target.handshake(number)
    yield _CLOSE


def _snapshots(target: Target, number: int) -> Iterator[bytes]:
    yield target.handshake(number, f"{target.stream}&snapshot=true")
    yield _CLOSE


def _connects(target: Target, number: int) -> Iterator[bytes]:
    del target, number
    yield _CLOSE


def _garbage(target: Target, number: int) -> Iterator[bytes]:
    """The beginning of a TLS handshake."""
    del target, number
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)


STORMS: Final = (
    Kind(
        "badtokens",
        "opens streams with tokens whose signature is wrong",
        200,
        _bad_tokens,
        frozenset({"1008"}),
        awaits=True,
    ),
    Kind(
        "goodtokens",
        "opens streams, and leaves",
        200,
        _good_tokens,
        frozenset({"101"}),
        awaits=True,
    ),
    Kind(
        "snapshots",
        "opens streams with snapshots, and leaves",
        200,
        _snapshots,
        frozenset({"101"}),
        awaits=True,
    ),
    Kind("connects", "connects, and leaves", 200, _connects, frozenset()),
    Kind("garbage", "sends what is not HTTP", 200, _garbage, frozenset({"400"})),
)
