"""Lag of the run itself: how long its event loop was blocked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

_TICK: Final = 0.05  # seconds
_LEAST: Final = 0.2
"""Seconds of a delay that counts. Shorter ones are of no weight beside the limits of a run."""


class Lag:
    """Measures the delay of the event loop, during which nothing counts as a fault.

    Attributes:
        total: seconds for which the loop was blocked.
        longest: seconds of the longest delay, since somebody set it to 0.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Create a measurement; ``clock`` returns seconds."""
        self.total = 0.0
        self.longest = 0.0
        self._clock = clock

    def now(self) -> float:
        """Seconds of a clock that stops while the loop is blocked."""
        return self._clock() - self.total

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            begin = self._clock()
            await asyncio.sleep(_TICK)
            self.note(self._clock() - begin - _TICK)

    def note(self, late: float) -> None:
        """Note that the loop was late by this many seconds."""
        if late >= _LEAST:
            self.total += late
            self.longest = max(self.longest, late)
