"""Backoff: compute the waits before further attempts, of this program or of refused clients.

Exponential with full jitter: a random time between 0 and a limit that doubles. So clients that
failed together, for example because the store was unreachable, do not retry together.
"""

from __future__ import annotations

from collections.abc import Callable
from random import random as random_fraction
from typing import Final

FIRST_LIMIT: Final = 1.0
"""Maximum first wait in seconds: most outages are short."""

_RETRY_AFTER: Final = (2.0, 10.0)
"""Least and greatest seconds after which a refused client may try again."""

_MAX_DOUBLINGS: Final = 32  # beyond any limit in use, without an overflow


class Backoff:
    """Computes the waits between attempts.

    Attributes:
        failures: number of failed attempts since the last success.
    """

    def __init__(
        self,
        limit: float,
        random: Callable[[], float] = random_fraction,
        *,
        first_limit: float = FIRST_LIMIT,
        lasting: float = float("inf"),
    ) -> None:
        """Create a back-off without failures.

        Args:
            limit: maximum wait in seconds.
            random: returns a number from 0 to below 1.
            first_limit: maximum first wait in seconds.
            lasting: seconds of success after which earlier failures no longer count.
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
            lasted: seconds of success before the failure.
        """
        if lasted >= self._lasting:
            self.reset()
        longest = min(self._limit, self._first_limit * 2.0 ** min(self.failures, _MAX_DOUBLINGS))
        self.failures += 1
        return self._random() * longest


def retry_after(random: Callable[[], float] = random_fraction) -> float:
    """Return the seconds after which a refused client may try again.

    They are random, so that clients that were refused together do not all return at once.

    Args:
        random: returns a number from 0 to below 1.
    """
    least, greatest = _RETRY_AFTER
    return least + random() * (greatest - least)
