"""Backoff: count failures, and compute the wait before the next attempt.

Exponential with full jitter: a random time between 0 and a limit that doubles. So those that failed
of one cause, such as an unreachable store, do not retry in step.
"""

from __future__ import annotations

import random as chance
from collections.abc import Callable
from typing import Final

FIRST_LIMIT: Final = 1.0
"""Longest first wait in seconds: after most breaks the other side is back soon."""

_MOST_DOUBLINGS: Final = 32  # beyond any limit in use, without an overflow


class Backoff:
    """Waits between attempts.

    Attributes:
        failures: number of failed attempts since the last success.
    """

    def __init__(
        self,
        limit: float,
        random: Callable[[], float] = chance.random,
        *,
        first_limit: float = FIRST_LIMIT,
        lasting: float = float("inf"),
    ) -> None:
        """Start without failures.

        Args:
            limit: longest wait in seconds.
            random: returns a number from 0 to below 1.
            first_limit: longest first wait in seconds.
            lasting: seconds after which a failure has nothing to do with those before.
        """
        self.failures = 0
        self._limit = limit
        self._random = random
        self._first_limit = first_limit
        self._lasting = lasting

    def reset(self) -> None:
        """Note a success."""
        self.failures = 0

    def next(self, lasted: float = 0.0) -> float:
        """Note a failure, and return the seconds to wait before the next attempt.

        Args:
            lasted: seconds that the attempt went well before it failed.
        """
        if lasted >= self._lasting:
            self.reset()
        longest = min(self._limit, self._first_limit * 2.0 ** min(self.failures, _MOST_DOUBLINGS))
        self.failures += 1
        return self._random() * longest
