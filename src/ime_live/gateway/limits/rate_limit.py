"""Limit the rate of requests and messages per client (generic cell rate algorithm). No I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

MAX_KNOWN: Final = 10_000
"""Number of clients that are remembered; the longest silent one is forgotten first."""

BURST: Final = 5.0
"""How many seconds' worth of requests or messages may come at once."""


class Rate:
    """A sustained rate, and `BURST` seconds' worth of it at once.

    One time is kept per client, by whoever asks: when all that it has sent would be due if it came
    at the permitted rate.
    """

    def __init__(self, rate: float) -> None:
        """Make a rate.

        Args:
            rate: requests or messages per second; 0 sets no limit.
        """
        self.interval = 1 / rate if rate else 0.0
        """Seconds between two requests at the permitted rate."""
        # How far ahead of the rate the last request of a burst may be. It is one interval less
        # than the burst, and half of one is given back, so that rounding never costs a request.
        self._ahead = max(0.0, BURST - self.interval / 2)

    def take(self, due: float, now: float) -> tuple[float, float]:
        """Count a request if it is allowed.

        Args:
            due: the client's time; any time in the past if it is new.
            now: seconds, of a monotonic clock.

        Returns:
            The client's time from now on, and the seconds until a request is allowed; 0 if this
            one was.
        """
        due = max(due, now)
        wait = due - now - self._ahead
        return (due, wait) if wait > 0 else (due + self.interval, 0.0)


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
