"""Limit the rate of requests per client (generic cell rate algorithm). No I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

MAX_KNOWN: Final = 10_000
"""Number of clients that are remembered; the longest silent one is forgotten first."""

BURST: Final = 5.0
"""How many seconds' worth of requests may come at once."""


class RequestLimit:
    """A limit per client: a sustained rate, and `BURST` seconds' worth of requests at once.

    Only one time is kept per client: when all its requests would be due if they came at the
    permitted rate.
    """

    def __init__(self, rate: float, most: int = MAX_KNOWN) -> None:
        """Make a limit.

        Args:
            rate: requests per second; 0 sets no limit.
            most: number of clients that are remembered.
        """
        self._interval = 1 / rate if rate else 0.0
        # How far ahead of the rate the last request of a burst may be. It is one interval less
        # than the burst, and half of one is given back, so that rounding never costs a request.
        self._ahead = max(0.0, BURST - self._interval / 2)
        self._most = most
        self._due: OrderedDict[int, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._due)

    def take(self, who: Hashable, now: float) -> float:
        """Count a request: return 0 if it is allowed, else the seconds until one is.

        A request that is not allowed does not count.

        Args:
            who: the client.
            now: seconds, of a monotonic clock.
        """
        if not self._interval:
            return 0.0
        # The hash is kept instead of the name, so that long names take no more memory.
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
        """Count this many more requests for an allowed one that took longer than others."""
        key = hash(who)
        if key in self._due:
            self._due[key] += requests * self._interval
