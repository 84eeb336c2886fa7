"""A clock and a loop's timers that move when a test says so."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class Timers:
    """Time in seconds, and what is to be called when."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def monotonic(self) -> float:
        """The time."""
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        """Call it when `pass_time` gets there."""
        assert delay >= 0
        heapq.heappush(self._calls, (self.now + delay, next(self._numbers), callback))

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and do what is due on the way."""
        end = self.now + seconds
        while self._calls and self._calls[0][0] <= end:
            due, _, callback = heapq.heappop(self._calls)
            self.now = max(self.now, due)
            callback()
        self.now = end

    def pass_to_next(self) -> None:
        """Let just so much time pass that something is due, and do it."""
        self.now, _, callback = heapq.heappop(self._calls)
        callback()

    def __len__(self) -> int:
        return len(self._calls)
