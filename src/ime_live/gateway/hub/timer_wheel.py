"""Wake subscribers with a `max_rate` when their next message may be sent.

A wheel of time slots replaces one timer per subscriber: the cost depends on the subscribers that
are due, not on all of them. No I/O: the clock and the loop's ``call_later`` are passed in.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ime_live.clock import Clock
    from ime_live.gateway.hub.subscriber import Subscriber

# Seconds; subscribers that are due within one slot are woken together.
_SLOT: Final = 0.005

TOLERANCE: Final = 1e-6
"""Seconds by which a time may be early and still count as due, since sums of floats are not exact:
a subscriber that is woken slightly too early would find nothing to do, and be woken forever."""


class TimerWheel:
    """Timer of all subscribers with a `max_rate`. Use it on the hub's thread only."""

    def __init__(
        self,
        *,
        clock: Clock,
        call_later: Callable[[float, Callable[[], None]], Any],
        wake: Callable[[Subscriber], None],
    ) -> None:
        """Start without subscribers.

        Args:
            clock: the machine's clock, for durations.
            call_later: runs a callable after a delay [s].
            wake: called with a subscriber when it is due.
        """
        self._monotonic = clock.monotonic
        self._call_later = call_later
        self._wake = wake
        self._slots: dict[int, dict[Subscriber, None]] = {}
        self._slot_of: dict[Subscriber, int] = {}
        self._heap: list[int] = []
        """The numbers of the slots, as a heap."""
        self._scheduled: int | None = None
        """The earliest slot for which `call_later` was called."""

    def __len__(self) -> int:
        return len(self._slot_of)

    def add(self, subscriber: Subscriber, moment: float) -> None:
        """Wake a subscriber at a time, or earlier if it was added for an earlier time.

        Args:
            subscriber: the subscriber.
            moment: the time of the monotonic clock [s].
        """
        slot = math.ceil(moment / _SLOT)
        present = self._slot_of.get(subscriber)
        if present is not None:
            if present <= slot:
                return
            del self._slots[present][subscriber]
        self._slot_of[subscriber] = slot
        if slot not in self._slots:
            self._slots[slot] = {}
            heapq.heappush(self._heap, slot)
        self._slots[slot][subscriber] = None
        self._schedule()

    def remove(self, subscriber: Subscriber) -> None:
        """Stop waking a subscriber."""
        slot = self._slot_of.pop(subscriber, None)
        if slot is not None:
            del self._slots[slot][subscriber]

    def _schedule(self) -> None:
        first = self._heap[0]
        if self._scheduled is None or first < self._scheduled:
            self._scheduled = first
            self._call_later(max(0.0, first * _SLOT - self._monotonic()), self._turn)

    def _turn(self) -> None:
        self._scheduled = None
        now = self._monotonic()
        while self._heap and self._heap[0] * _SLOT <= now + TOLERANCE:
            subscribers = self._slots.pop(heapq.heappop(self._heap))
            for subscriber in subscribers:
                del self._slot_of[subscriber]
            for subscriber in subscribers:
                self._wake(subscriber)
        # Slots whose subscribers have all left need no call.
        while self._heap and not self._slots[self._heap[0]]:
            del self._slots[heapq.heappop(self._heap)]
        if self._heap:
            self._schedule()
