"""Throttling: limit the messages per contract and second of a subscriber with a `max_rate`.

No I/O; the time is passed in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ime_live.gateway.hub.timer_wheel import TOLERANCE

if TYPE_CHECKING:
    from ime_live.gateway.hub.channel import Channel


class Throttle:
    """The `max_rate` of one subscriber: after a message, its contract is closed for an interval."""

    __slots__ = ("_interval", "closed")

    def __init__(self, interval: float) -> None:
        """Start with all contracts open; ``interval`` is in seconds."""
        self._interval = interval
        self.closed: dict[Channel, tuple[float, bytes]] = {}
        """Contracts that must not be sent yet: when they open [s], and the timestamp of the last
        message; the first to open comes first."""

    def open_due(self, now: float) -> None:
        """Open the contracts whose interval is over."""
        closed = self.closed
        while closed:
            channel, (until, _) = next(iter(closed.items()))
            if until > now + TOLERANCE:
                break
            del closed[channel]

    def close(self, channel: Channel, now: float, timestamp: bytes) -> None:
        """Close an open contract, because a message is sent now.

        Args:
            channel: the contract.
            now: the time of a monotonic clock [s].
            timestamp: timestamp of the message.
        """
        self.closed[channel] = now + self._interval, timestamp

    def forget(self, channel: Channel) -> None:
        """Drop a contract that the subscriber no longer wants."""
        self.closed.pop(channel, None)

    def due(self, channels: Iterable[Channel]) -> float | None:
        """Return when the first of these contracts opens, in seconds; None if all are open."""
        closed = self.closed
        times = [closed[each][0] for each in channels if each in closed]
        return min(times) if times else None

    def timestamps(self, channels: Iterable[Channel]) -> dict[Channel, bytes]:
        """Return the last timestamp of each of these contracts that is closed."""
        closed = self.closed
        return {each: closed[each][1] for each in channels if each in closed}
