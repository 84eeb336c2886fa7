"""Wake subscribers that have a `max_rate` when they may be sent the next message.

A wheel of time slots replaces a timer per subscriber: thousands of them cost only as much as those
that are due. No I/O: the clock and the loop's ``call_later`` are passed in.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ime_live.clock import Clock
    from ime_live.gateway.hub.subscriber import Subscriber

# Seconds; everything that is due within one slot goes out in one write.
_SLOT: Final = 0.005

TOLERANCE: Final = 1e-6
"""Seconds by which something may be early and still count as due, since sums of seconds are not
exact: a subscriber woken slightly too early would find nothing to do, and be woken forever."""


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
            clock: measures time.
            call_later: runs a callable after so many seconds.
            wake: called with a subscriber when its time has come.
        """
        self._monotonic = clock.monotonic
        self._call_later = call_later
        self._wake = wake
        self._slots: dict[int, dict[Subscriber, None]] = {}
        self._slot_of: dict[Subscriber, int] = {}
        self._due: list[int] = []
        """The slots, as a heap."""
        self._called: int | None = None
        """The earliest slot for which `call_later` was called."""

    def __len__(self) -> int:
        return len(self._slot_of)

    def add(self, subscriber: Subscriber, moment: float) -> None:
        """Wake a subscriber at a moment, or earlier if it was added for an earlier one."""
        slot = math.ceil(moment / _SLOT)
        present = self._slot_of.get(subscriber)
        if present is not None:
            if present <= slot:
                return
            del self._slots[present][subscriber]
        self._slot_of[subscriber] = slot
        if slot not in self._slots:
            self._slots[slot] = {}
            heapq.heappush(self._due, slot)
        self._slots[slot][subscriber] = None
        self._call()

    def remove(self, subscriber: Subscriber) -> None:
        """Stop waking a subscriber."""
        slot = self._slot_of.pop(subscriber, None)
        if slot is not None:
            del self._slots[slot][subscriber]

    def _call(self) -> None:
        first = self._due[0]
        if self._called is None or first < self._called:
            self._called = first
            self._call_later(max(0.0, first * _SLOT - self._monotonic()), self._turn)

    def _turn(self) -> None:
        self._called = None
        now = self._monotonic()
        while self._due and self._due[0] * _SLOT <= now + TOLERANCE:
            subscribers = self._slots.pop(heapq.heappop(self._due))
            for subscriber in subscribers:
                del self._slot_of[subscriber]
            for subscriber in subscribers:
                self._wake(subscriber)
        # Slots whose subscribers have all left need no call.
        while self._due and not self._slots[self._due[0]]:
            del self._slots[heapq.heappop(self._due)]
        if self._due:
            self._call()
