"""Abuse by connections that stay: they send slowly, send nothing, or read nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Final

from benchmarks.abuse.kind import Kind, Target

MAX_REQUEST: Final = 131_072
"""The gateway's default limit of a request's head, and of a body [bytes]."""


def _byte_by_byte(target: Target, number: int) -> Iterator[bytes]:
    head = target.handshake(number).removesuffix(b"\r\n") + b"X-Slow: "
    yield from (head[at : at + 1] for at in range(len(head)))
    yield from repeat(b"z")


def _nothing(target: Target, number: int) -> Iterator[bytes]:
    del target, number
    yield from ()


def _almost_all(target: Target, number: int) -> Iterator[bytes]:
    head = target.handshake(number).removesuffix(b"\r\n") + b"X-Large: "
    yield head + b"z" * (MAX_REQUEST - len(head) - 64)


def _slow_body(target: Target, number: int) -> Iterator[bytes]:
    del number
    yield target.request("/health", "Transfer-Encoding: chunked")
    yield from repeat(b"1\r\nz\r\n")


def _subscribed(target: Target, number: int) -> Iterator[bytes]:
    yield target.handshake(number)


def _listening(target: Target, number: int) -> Iterator[bytes]:
    path = target.stream.replace("/websocket/", "/sse/")
    yield target.request(path, f"Authorization: Bearer {target.token(number)}")


SLOW_CLIENTS: Final = (
    Kind(
        "slowloris",
        "sends the head of a request byte by byte, without end",
        1_000,
        _byte_by_byte,
        frozenset({"408"}),
        every=0.1,
    ),
    Kind("silent", "connects and sends nothing", 2_000, _nothing, frozenset({"408"})),
    Kind(
        "slowbody",
        "sends a body in chunks of one byte, without end",
        1_000,
        _slow_body,
        frozenset({"408"}),
        every=0.1,
    ),
    Kind(
        "neverreaders",
        "subscribes, shuts its receive window and reads nothing",
        2_000,
        _subscribed,
        frozenset({"101"}),
        reads=False,
    ),
    Kind(
        "eventreaders",
        "the same on a stream of server-sent events",
        2_000,
        _listening,
        frozenset({"200"}),
        reads=False,
    ),
    Kind(
        "heads",
        "sends 128 KiB of a head, and never its end",
        500,
        _almost_all,
        frozenset({"408"}),
        holds=2 * MAX_REQUEST,
    ),
)
