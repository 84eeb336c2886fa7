"""Interfaces of the hub: `Send` and `TransportWriter` write to clients, `Events` counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ime_live.gateway.hub.subscriber import Subscriber


Data = bytes | list[bytes]
"""Complete frames; a list of frames need not be joined."""

Batch = tuple["dict[Subscriber, int]", Data]
"""Subscribers with the descriptors of their sockets, and the data to send to each of them."""

Shortfall = tuple["Subscriber", Data, int, int]
"""A subscriber whose socket accepted less than all bytes: the data, the number of accepted bytes,
and an ``errno``. It is 0 if the socket may accept the rest later; else the connection is broken."""

Send = Callable[[list[Batch]], tuple[Shortfall, ...]]
"""Sends the data of each batch without waiting, and returns the shortfalls; see
`ime_live.gateway.stream.fanout`. A subscriber must be in one batch of a call only."""


class TransportWriter(Protocol):
    """Writes to the socket of one client."""

    @property
    def descriptor(self) -> int:
        """File descriptor of the socket, for `Send`; negative if only `keep` can write to it."""

    def keep(self, rest: bytes, /) -> None:
        """Send the rest of a write when the socket is writable; call `Hub.pause` at once."""


class Events(Protocol):
    """Counts the messages and updates of the hub."""

    def delivered(self, messages: int, oldest_version: int) -> None:
        """Count written messages; the version is that of the oldest, 0 to not measure its age."""

    def conflated(self, messages: int) -> None:
        """Count messages that newer ones replaced before a slow client could accept them."""

    def throttled(self, messages: int) -> None:
        """Count messages that newer ones replaced because of the client's `max_rate`."""

    def dropped(self, reason: str) -> None:
        """Count an update that was not forwarded, because it was ``equal`` or ``stale``."""

    def failed(self, subscriber: Subscriber, error: Exception) -> None:
        """Count a write that raised; nothing more is written to the subscriber."""
