"""Pace: how fast a client may send, so that the gateway does not close it with 1008.

The time comes in, how long to wait goes out. No clock.
"""

from __future__ import annotations

from typing import Final

RATE: Final = 8.0
"""Messages a second; the gateway allows ten for long (``--client-rate``)."""

BURST: Final = 40
"""Messages at once; the gateway allows five times the rate."""


class Pace:
    """A bucket of `BURST` messages that is filled at `RATE`; one a connection."""

    def __init__(self) -> None:
        """Begin with a full bucket."""
        self._left = float(BURST)
        self._at: float | None = None

    def wait(self, now: float) -> float:
        """Take one message; how many seconds to wait before it is sent.

        Args:
            now: any clock that does not go back, in seconds.
        """
        if self._at is not None:
            self._left = min(BURST, self._left + RATE * (now - self._at))
        self._at = now
        self._left -= 1
        return max(0.0, -self._left / RATE)
