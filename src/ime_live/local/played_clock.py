"""Played clock: the time of a recording while it is played."""

from __future__ import annotations

from typing import Final

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.market import MICROSECONDS

MAX_PAUSE: Final = 60 * MICROSECONDS
"""Maximum pause in microseconds of the recording: a playback does not wait for a night."""


class PlayedClock(Clock):
    """Shows the time of a recording, which passes faster or slower than that of the machine.

    It stands still until `start`, and never shows a moment after the one that `reach` waits for.
    Spans of time are those of the machine.
    """

    def __init__(self, moment: int, speed: float, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Create a clock that stands at a moment.

        Args:
            moment: microseconds since the Unix epoch.
            speed: seconds of the recording per second; 0 waits for nothing.
            clock: the machine's clock.
        """
        self._speed = speed
        self._clock = clock
        self._limit = moment
        self._origin = moment
        self._started = clock.monotonic()

    def start(self) -> None:
        """Let time pass from now on."""
        self._origin, self._started = self._limit, self._clock.monotonic()

    def time_us(self) -> int:
        """Return the microseconds since the Unix epoch, in the recording."""
        if not self._speed:
            return self._limit
        passed = (self._clock.monotonic() - self._started) * self._speed * MICROSECONDS
        # A product of a great speed may be infinite.
        return self._origin + int(min(passed, self._limit - self._origin))

    def time(self) -> float:
        """Return the seconds since the Unix epoch, in the recording."""
        return self.time_us() / MICROSECONDS

    def monotonic(self) -> float:
        """Return seconds of the machine's clock."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for seconds of the machine's clock."""
        await self._clock.sleep(seconds)

    def is_due(self, moment: int) -> bool:
        """Return whether a moment is reached without a wait."""
        if not self._speed or moment <= self._limit:
            return True
        return moment - self._limit <= MAX_PAUSE and self._wait_for(moment) <= 0

    async def reach(self, moment: int) -> None:
        """Wait until the clock shows a moment; one that has passed is not waited for."""
        if moment <= self._limit:
            return
        if moment - self._limit > MAX_PAUSE:
            self._origin, self._started = moment - MAX_PAUSE, self._clock.monotonic()
        self._limit = moment
        if self._speed and (wait := self._wait_for(moment)) > 0:
            await self._clock.sleep(wait)

    def _wait_for(self, moment: int) -> float:
        due = self._started + (moment - self._origin) / MICROSECONDS / self._speed
        return due - self._clock.monotonic()
