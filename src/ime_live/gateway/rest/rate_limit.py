"""RequestLimit: how often somebody may ask.

Who asks and when come in; yes, or how long to wait, goes out. Pure: the clock is the caller's. It
must not know what is asked for, nor of HTTP.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

MAX_KNOWN: Final = 10_000
"""How many that have asked are remembered; the one that was silent longest is forgotten first."""

BURST: Final = 5.0
"""Seconds' worth of requests that may come at once."""


class RequestLimit:
    """A limit for each one that asks: so many a second for long, `BURST` times as many at once.

    Of each one only a time is kept, the one at which all that it has asked for would be due if
    requests came at the permitted pace (the generic cell rate algorithm).
    """

    def __init__(self, rate: float, most: int = MAX_KNOWN) -> None:
        """Make a limit.

        Args:
            rate: requests a second; 0 sets no limit.
            most: how many are remembered.
        """
        self._interval = 1 / rate if rate else 0.0
        # How far ahead of the pace the last request of a burst may be. It is one interval less
        # than the burst, and half of one is given back, so that rounding never costs a request.
        self._ahead = max(0.0, BURST - self._interval / 2)
        self._most = most
        self._due: OrderedDict[int, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._due)

    def take(self, who: Hashable, now: float) -> float:
        """Count a request: 0 if it may be answered, else the seconds until one may be.

        A request that may not be answered does not count.

        Args:
            who: asks.
            now: seconds, of a clock that does not go back.
        """
        if not self._interval:
            return 0.0
        # Of the name its hash is kept, so that long names take no more room than short ones.
        key = hash(who)
        due = max(self._due.get(key, now), now)
        wait = due - now - self._ahead
        if wait > 0:
            return wait
        self._due[key] = due + self._interval
        self._due.move_to_end(key)
        if len(self._due) > self._most:
            self._due.popitem(last=False)
        return 0.0

    def owe(self, who: Hashable, requests: int) -> None:
        """Count so many requests more for one that was answered and took longer than others."""
        key = hash(who)
        if key in self._due:
            self._due[key] += requests * self._interval
