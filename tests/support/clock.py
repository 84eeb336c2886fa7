"""Clocks for tests: they move when a test says so, and their waits take no time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ime_live.clock import Clock


class SleeplessClock(Clock):
    """The machine's times, but a wait takes none and is noted in `waits`."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)


class FakeClock(SleeplessClock):
    """Both of its times are `now`, which tests and waits move on."""

    def __init__(self, now: float = 1000.0) -> None:
        super().__init__()
        self.now = now

    def time(self) -> float:
        return self.now

    def time_us(self) -> int:
        return round(self.now * 1e6)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await super().sleep(seconds)


class GivenClock(SleeplessClock):
    """Its times are those of two functions, for tests in which the two differ."""

    def __init__(
        self,
        time_us: Callable[[], int] = lambda: 0,
        monotonic: Callable[[], float] = lambda: 0.0,
    ) -> None:
        super().__init__()
        self._time_us = time_us
        self._monotonic = monotonic

    def time(self) -> float:
        return self._time_us() / 1e6

    def time_us(self) -> int:
        return self._time_us()

    def monotonic(self) -> float:
        return self._monotonic()
