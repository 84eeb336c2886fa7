"""Rate: how many requests or messages may come, or be sent (generic cell rate algorithm).

It reads no clock: the time is passed in.
"""

from __future__ import annotations

from typing import Final

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
