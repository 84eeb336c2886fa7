"""The machine's clock: its times agree, and a wait of no time lets others run."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta, timezone

from ime_live.clock import SYSTEM_CLOCK
from tests.support.clock import FakeClock


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


def test_local_time_is_that_of_a_zone() -> None:
    zone = timezone(timedelta(hours=3, minutes=30))
    before = datetime.now(zone)
    now = SYSTEM_CLOCK.local(zone)
    assert abs(now - before) < timedelta(minutes=1)
    assert now.tzinfo is zone
    assert FakeClock(90.25).local(zone).isoformat() == "1970-01-01T03:31:30.250000+03:30"
