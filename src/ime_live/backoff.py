"""Backoff: count failures, and compute the wait before the next attempt.

Exponential with full jitter: a random time between 0 and a limit that doubles.
"""

from __future__ import annotations

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

    def __init__(self, limit: float, random: Callable[[], float]) -> None:
        """Start without failures.

        Args:
            limit: longest wait in seconds.
            random: returns a number from 0 to below 1.
        """
        self.failures = 0
        self._limit = limit
        self._random = random

    def reset(self) -> None:
        """Note a success."""
        self.failures = 0

    def next(self) -> float:
        """Note a failure, and return the seconds to wait before the next attempt."""
        longest = min(self._limit, FIRST_LIMIT * 2.0 ** min(self.failures, _MOST_DOUBLINGS))
        self.failures += 1
        return self._random() * longest
