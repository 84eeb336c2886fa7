"""Interfaces of the hub: `TransportWriter` writes to a client, `Events` counts what happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ime_live.gateway.hub.subscribers import Subscriber


class TransportWriter(Protocol):
    """Writes to one client's socket."""

    @property
    def write(self) -> Callable[[bytes], int]:
        """Hand whole frames to the kernel at once.

        Returns how many bytes it took; raises BlockingIOError if none. It is called for each
        client and tick, so it should be no more than the system call.
        """

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
