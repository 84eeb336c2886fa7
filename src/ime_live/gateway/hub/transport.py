"""Outlet and Events: what the hub needs of the world around it.

Interfaces only. A client is whatever has an `Outlet`; what is to be counted goes to `Events`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ime_live.gateway.hub.subscribers import Client


class Outlet(Protocol):
    """The way to a client."""

    @property
    def write(self) -> Callable[[bytes], int]:
        """Hands whole frames to the kernel at once.

        Returns how many bytes it took; raises BlockingIOError if none. Called for each client
        and tick, so it should be no more than the system call.
        """

    def keep(self, rest: bytes, /) -> None:
        """Send the rest when that is possible; calls `Hub.pause` before it returns."""


class Events(Protocol):
    """Who wants to know what the hub does; counts only, called at most once a tick or update."""

    def delivered(self, messages: int, oldest_version: int) -> None:
        """A tick's messages were written; ``oldest_version`` is of the oldest among them."""

    def conflated(self, messages: int) -> None:
        """So many messages were replaced by newer ones before a slow client could take them."""

    def thinned(self, messages: int) -> None:
        """So many were replaced by newer ones since their client asked for no more."""

    def dropped(self, reason: str) -> None:
        """An update was not forwarded: ``equal`` or ``stale``."""

    def failed(self, client: Client, error: Exception) -> None:
        """Writing to ``client`` raised; it gets nothing more."""
