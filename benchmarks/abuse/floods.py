"""Abuse by frames and requests that are small, valid, and far too many."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count, cycle, repeat
from typing import Final

from benchmarks.abuse.kind import CONTINUATION, PING, TEXT, Kind, Pieces, Target, frame
from benchmarks.publications import MARKET, name_of

_AT_ONCE: Final = 65_536  # bytes of frames that are sent in one piece
_OVERVIEW: Final = "/live/data/overview/contract/name?contract_names="


def _frames(one: bytes, first: bytes = b"") -> Pieces:
    many = one * max(1, _AT_ONCE // len(one))

    def pieces(target: Target, number: int) -> Iterator[bytes]:
        yield target.handshake(number) + first
        yield from repeat(many)

    return pieces


def _commands(target: Target, number: int) -> Iterator[bytes]:
    """The most expensive commands, at the permitted rate."""
    yield target.handshake(number)
    wanted = {"market": [MARKET.value], "snapshot": True}
    for action in cycle(("subscribe", "unsubscribe")):
        sent = wanted if action == "subscribe" else {"market": [MARKET.value]}
        yield frame(TEXT, json.dumps({"action": action, **sent}).encode())


def _calls(target: Target, number: int) -> Iterator[bytes]:
    """Requests of one subject: nearly all are above its rate."""
    del number
    bearer = f"Authorization: Bearer {target.token(0)}"
    yield from repeat(target.request(_OVERVIEW + name_of(target.contract), bearer))


def _many_subjects(target: Target, number: int) -> Iterator[bytes]:
    """Requests within the rate of each subject."""
    path = _OVERVIEW + name_of(target.contract)
    for turn in count(number):
        yield target.request(path, f"Authorization: Bearer {target.token(turn)}")


def _pipelined(target: Target, number: int) -> Iterator[bytes]:
    one = target.request(
        _OVERVIEW + name_of(target.contract), f"Authorization: Bearer {target.token(number)}"
    )
    yield from repeat(one * 200)


def _too_many(what: str, title: str, one: bytes, first: bytes = b"") -> Kind:
    return Kind(what, title, 100, _frames(one, first), frozenset({"1008"}))


FLOODS: Final = (
    _too_many("pings", "sends pings as fast as they are taken", frame(PING)),
    _too_many("texts", "sends messages of one byte as fast as they are taken", frame(TEXT, b"x")),
    Kind(
        "stubborn",
        "sends messages of 4 KiB, and ignores that its stream was closed",
        100,
        _frames(frame(TEXT, b"x" * 4_096)),
        frozenset({"1008"}),
        stays=True,
    ),
    _too_many(
        "fragments",
        "sends fragments of a message that never ends",
        frame(CONTINUATION, fin=False),
        frame(TEXT, fin=False),
    ),
    Kind(
        "calls",
        "repeats a REST call with one token for all",
        100,
        _calls,
        frozenset({"429"}),
        awaits=True,
    ),
    Kind(
        "manysubjects",
        "repeats a REST call with many tokens",
        100,
        _many_subjects,
        frozenset({"200"}),
        awaits=True,
    ),
    Kind(
        "pipelines",
        "sends REST calls without an end, and reads no answer",
        100,
        _pipelined,
        frozenset({"200", "429"}),
        reads=False,
        holds=2 * 131_072,
    ),
    Kind(
        "commands",
        "adds and removes a market of 500 contracts, at the permitted rate",
        50,
        _commands,
        frozenset({"101"}),
        every=0.11,
        holds=1_000_000,
    ),
)
