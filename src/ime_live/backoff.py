"""Back-off: failures are counted, and how long to wait before the next try goes out.

Exponential with full jitter: a random time between nothing and a limit that doubles. No clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FIRST_LIMIT: Final = 1.0
"""Seconds that the first wait takes at the most: what broke off should be back soon."""

_MOST_DOUBLINGS: Final = 32  # far beyond any limit in use, and no float too large


class Backoff:
    """How long to wait before the next try.

    Attributes:
        failures: tries that failed since the last success.
    """

    def __init__(self, limit: float, random: Callable[[], float]) -> None:
        """Start without failures.

        Args:
            limit: seconds that a wait takes at the most.
            random: a number from 0 to below 1.
        """
        self.failures = 0
        self._limit = limit
        self._random = random

    def reset(self) -> None:
        """It worked."""
        self.failures = 0

    def next(self) -> float:
        """It failed: how many seconds to wait before the next try."""
        longest = min(self._limit, FIRST_LIMIT * 2.0 ** min(self.failures, _MOST_DOUBLINGS))
        self.failures += 1
        return self._random() * longest
