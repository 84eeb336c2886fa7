"""Clocks for tests: one that moves when a test says so, and one whose waits take no time."""

from __future__ import annotations

import asyncio

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
