"""The lag of the run itself is measured, and its clock stands still meanwhile."""

from __future__ import annotations

import asyncio
import time

from chaos.lag import Lag


def test_lag_clock_stops_while_the_loop_is_blocked() -> None:
    seconds = 100.0
    lag = Lag(lambda: seconds)
    lag.note(0.1)  # too short to count
    assert (lag.now(), lag.longest) == (100.0, 0.0)
    seconds = 103.0
    lag.note(3.0)
    lag.note(0.5)
    assert (lag.now(), lag.total, lag.longest) == (99.5, 3.5, 3.0)


async def test_blocked_event_loop_is_detected() -> None:
    lag = Lag()
    measuring = asyncio.create_task(lag.run())
    await asyncio.sleep(0)
    time.sleep(0.4)  # noqa: ASYNC251 - to hold the loop up
    async with asyncio.timeout(20):
        while not lag.total:  # noqa: ASYNC110 - it is measured in a task of its own
            await asyncio.sleep(0.01)
    measuring.cancel()
    assert lag.longest >= 0.3
