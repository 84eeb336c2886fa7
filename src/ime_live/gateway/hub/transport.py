"""Interfaces of the hub: `Send` and `TransportWriter` write to clients, `Events` counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ime_live.gateway.hub.subscriber import Subscriber


Data = bytes | list[bytes]
"""Whole frames; a list of them need not be joined."""

Batch = tuple["dict[Subscriber, int]", Data]
"""Descriptors of sockets by their subscribers, and what to send to each of them."""

Shortfall = tuple["Subscriber", Data, int, int]
"""A subscriber whose socket took less than all: the frames, how many bytes of them were taken, and
an ``errno``. It is 0 if the socket may take the rest later; else the connection is broken."""

Send = Callable[[list[Batch]], tuple[Shortfall, ...]]
"""Sends each batch's frames without waiting, and returns those that took less than all; see
`ime_live.gateway.stream.fanout`. A subscriber is in one batch of a call only."""


class TransportWriter(Protocol):
    """One client's socket."""

    @property
    def descriptor(self) -> int:
        """Its file descriptor, for `Send`; negative if only `keep` can write to it."""

    def keep(self, rest: bytes, /) -> None:
        """Send the rest when that is possible; calls `Hub.pause` before it returns."""


class Events(Protocol):
    """Counts what the hub does. Each method is called at most once per tick or update."""

    def delivered(self, messages: int, oldest_version: int) -> None:
        """A tick's messages were written; ``oldest_version`` belongs to the oldest of them."""

    def conflated(self, messages: int) -> None:
        """This many messages were replaced by newer ones before a slow client could take them."""

    def throttled(self, messages: int) -> None:
        """This many were replaced by newer ones because of the client's `max_rate`."""

    def dropped(self, reason: str) -> None:
        """An update was not forwarded: ``equal`` or ``stale``."""

    def failed(self, subscriber: Subscriber, error: Exception) -> None:
        """Writing to ``subscriber`` raised; it gets nothing more."""
