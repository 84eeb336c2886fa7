"""Limit the rate of requests per client. No I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from ime_live.rate import Rate

MAX_CLIENTS: Final = 10_000
"""Maximum number of remembered clients; the one with the oldest request is forgotten first."""


class RequestLimit:
    """Applies a `Rate` to each of many clients."""

    def __init__(self, rate: float, max_clients: int = MAX_CLIENTS) -> None:
        """Make a limit.

        Args:
            rate: requests per second; 0 sets no limit.
            max_clients: maximum number of remembered clients.
        """
        self.rate = Rate(rate)
        """May be replaced at any time; earlier requests of clients still count."""
        self._max_clients = max_clients
        self._due: OrderedDict[int, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._due)

    def take(self, client: Hashable, now: float) -> float:
        """Count a request if it is allowed.

        Args:
            client: key of the client.
            now: the time of a monotonic clock [s].

        Returns:
            0 if the request is allowed, else the time until a request is allowed [s].
        """
        if not self.rate.interval:
            return 0.0
        # The hash is stored instead of the key, so that long names take no more memory.
        key = hash(client)
        due, wait = self.rate.take(self._due.get(key, now), now)
        if wait:
            return wait
        self._due[key] = due
        self._due.move_to_end(key)
        if len(self._due) > self._max_clients:
            self._due.popitem(last=False)
        return 0.0

    def charge(self, client: Hashable, requests: int) -> None:
        """Count additional requests for an allowed request that costs more than others."""
        key = hash(client)
        if key in self._due:
            self._due[key] += requests * self.rate.interval
