"""Pace: limit the client's commands, so that the gateway does not close it with 1008."""

from __future__ import annotations

from typing import Final

RATE: Final = 8.0
"""Messages per second; the gateway allows ten on average (``--client-rate``)."""

BURST: Final = 40
"""Messages at once; the gateway allows five times the rate."""


class Pace:
    """Token bucket of `BURST` messages that refills at `RATE`; one per connection."""

    def __init__(self) -> None:
        """Begin with a full bucket."""
        self._left = float(BURST)
        self._at: float | None = None

    def wait(self, now: float) -> float:
        """Count one message, and return the seconds to wait before it is sent.

        Args:
            now: a monotonic clock in seconds.
        """
        if self._at is not None:
            self._left = min(BURST, self._left + RATE * (now - self._at))
        self._at = now
        self._left -= 1
        return max(0.0, -self._left / RATE)
