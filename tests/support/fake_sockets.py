"""Sockets of the hub's tests: objects with numbers, and a `Send` that calls them.

It holds the hub to the rules of `ime_live.gateway.stream.fanout`: types that C takes, and no
subscriber in two batches of a call.
"""

from __future__ import annotations

import errno
import itertools
from typing import Any, Protocol
from weakref import WeakValueDictionary

from ime_live.gateway.hub.transport import Batch, Shortfall

_sockets: WeakValueDictionary[int, FakeSocket] = WeakValueDictionary()
_numbers = itertools.count(1000)


class _Writes(Protocol):
    def write(self, data: bytes, /) -> int:
        """Take some bytes; raises BlockingIOError if none, or another OSError."""


class FakeSocket:
    """Base of a client's socket, with a descriptor by which `send` finds its ``write``."""

    @property
    def descriptor(self) -> int:
        """A number that no other one has."""
        number: int = self.__dict__.setdefault("_number", next(_numbers))
        _sockets[number] = self
        return number


def send(batches: list[Batch]) -> tuple[Shortfall, ...]:
    """Write each batch to each of its sockets; see `ime_live.gateway.stream.fanout.send`."""
    assert isinstance(batches, list)
    seen: set[object] = set()
    found: list[Shortfall] = []
    for ready, data in batches:
        assert isinstance(ready, dict)
        frames = b"".join([data] if isinstance(data, bytes) else data)
        assert seen.isdisjoint(ready), "a subscriber in two batches"
        seen.update(ready)
        for subscriber, descriptor in list(ready.items()):
            socket: Any = _sockets[descriptor]
            taken, error = _write(socket, frames)
            if taken != len(frames) or error:
                found.append((subscriber, data, taken, error))
    return tuple(found)


def _write(socket: _Writes, data: bytes) -> tuple[int, int]:
    try:
        return socket.write(data), 0
    except BlockingIOError:
        return 0, 0
    except OSError as error:
        return 0, error.errno or errno.EIO
