"""Limit the rate of requests per client. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from ime_live.rate import Rate

MAX_KNOWN: Final = 10_000
"""Number of clients that are remembered; the longest silent one is forgotten first."""


class RequestLimit:
    """A `Rate` per client, for clients that come and go."""

    def __init__(self, rate: float, most: int = MAX_KNOWN) -> None:
        """Make a limit.

        Args:
            rate: requests per second; 0 sets no limit.
            most: number of clients that are remembered.
        """
        self.rate = Rate(rate)
        """May be replaced; what clients have used of the former one counts on."""
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
        if not self.rate.interval:
            return 0.0
        # The hash is kept instead of the name, so that long names take no more memory.
        key = hash(who)
        due, wait = self.rate.take(self._due.get(key, now), now)
        if wait:
            return wait
        self._due[key] = due
        self._due.move_to_end(key)
        if len(self._due) > self._most:
            self._due.popitem(last=False)
        return 0.0

    def owe(self, who: Hashable, requests: int) -> None:
        """Count additional requests for an allowed one that costs more than others."""
        key = hash(who)
        if key in self._due:
            self._due[key] += requests * self.rate.interval
