"""Rate limit: requests or messages per second, with bursts (generic cell rate algorithm).

It does not read a clock: the time is passed in.
"""

from __future__ import annotations

from typing import Final

BURST: Final = 5.0
"""Size of a burst, in seconds of the permitted rate."""


class Rate:
    """Limits a client to a sustained rate, with bursts of `BURST` seconds of it.

    The caller keeps one time per client: when all of its requests so far would be due at the
    permitted rate.
    """

    def __init__(self, rate: float) -> None:
        """Create a limit.

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
            due: the client's time; for a new client, any time in the past.
            now: time of a monotonic clock in seconds.

        Returns:
            The client's new time, and the seconds until a request is allowed; 0 if this one was.
        """
        due = max(due, now)
        wait = due - now - self._ahead
        return (due, wait) if wait > 0 else (due + self.interval, 0.0)
