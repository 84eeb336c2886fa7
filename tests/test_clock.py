"""The machine's clock: its times agree, and a wait of no time lets others run."""

from __future__ import annotations

import asyncio
import time

from ime_live.clock import SYSTEM_CLOCK


def test_times_are_those_of_the_machine() -> None:
    before = time.time_ns() // 1000
    now = SYSTEM_CLOCK.time_us()
    after = time.time_ns() // 1000
    assert before <= now <= after
    assert isinstance(now, int)
    assert isinstance(SYSTEM_CLOCK.time(), float)


def test_monotonic_time_never_goes_back() -> None:
    moments = [SYSTEM_CLOCK.monotonic() for _ in range(1_000)]
    assert moments == sorted(moments)


async def test_sleep_lets_other_tasks_run() -> None:
    ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(ran.set)
    await SYSTEM_CLOCK.sleep(0)
    await SYSTEM_CLOCK.sleep(0)
    assert ran.is_set()
