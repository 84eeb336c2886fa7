"""Wake clients that have a `max_rate` when they may be sent the next message.

A wheel of time slots replaces a timer per client: thousands of clients cost only as much as those
that are due. No I/O: the clock and the loop's ``call_later`` are passed in.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from typing import Any, Final

from ime_live.gateway.hub.subscribers import Channel, Client

# Seconds; everything that is due within one slot goes out in one write.
_SLOT: Final = 0.005

# Seconds by which something may be early and still count as due, since sums of seconds are not
# exact: a client woken slightly too early would find nothing to do, and be woken again for ever.
_EARLY: Final = 1e-6


class Throttle:
    """Timer of all clients with a `max_rate`. Use it on the hub's thread only."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], Any],
        wake: Callable[[Client], None],
    ) -> None:
        """Start without clients.

        Args:
            monotonic: seconds.
            call_later: runs a callable after so many seconds.
            wake: called with a client that may be sent something that it misses.
        """
        self._monotonic = monotonic
        self._call_later = call_later
        self._wake = wake
        self._slots: dict[int, dict[Client, None]] = {}
        self._due: list[int] = []
        """The slots, as a heap."""
        self._called: int | None = None
        """The earliest slot for which `call_later` was called."""

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def open(self, client: Client) -> float:
        """Release the contracts that the client may be sent again.

        Returns:
            The time before which contracts that it is sent now must not be sent again.
        """
        now = self._monotonic()
        closed = client.closed
        while closed:
            channel, (until, _) = next(iter(closed.items()))
            if until > now + _EARLY:
                break
            del closed[channel]
        return now + client.group.mode.interval

    def wait(self, client: Client, among: Iterable[Channel] | None = None) -> None:
        """Wake the client when the first contract that it misses may be sent.

        Args:
            client: nothing happens if it misses nothing.
            among: contracts that it has begun to miss; None for all that it misses.
        """
        missed, closed = client.missed, client.closed or {}
        channels = missed if among is None else among
        times = [
            closed[channel][0] for channel in channels if channel in closed and channel in missed
        ]
        if not times:
            return
        slot = math.ceil(min(times) / _SLOT)
        if client.wakes is not None:
            if client.wakes <= slot:
                return
            self.forget(client)
        client.wakes = slot
        if slot not in self._slots:
            self._slots[slot] = {}
            heapq.heappush(self._due, slot)
        self._slots[slot][client] = None
        self._call()

    def forget(self, client: Client) -> None:
        """Do not wake the client any more."""
        if client.wakes is not None:
            del self._slots[client.wakes][client]
            client.wakes = None

    def _call(self) -> None:
        first = self._due[0]
        if self._called is None or first < self._called:
            self._called = first
            self._call_later(max(0.0, first * _SLOT - self._monotonic()), self._turn)

    def _turn(self) -> None:
        self._called = None
        now = self._monotonic()
        while self._due and self._due[0] * _SLOT <= now + _EARLY:
            clients = self._slots.pop(heapq.heappop(self._due))
            for client in clients:
                client.wakes = None
            for client in clients:
                self._wake(client)
        # Slots whose clients have all left need no call.
        while self._due and not self._slots[self._due[0]]:
            del self._slots[heapq.heappop(self._due)]
        if self._due:
            self._call()
