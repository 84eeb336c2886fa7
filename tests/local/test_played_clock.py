"""The clock of a recording that is played: its speed, its waits, and moments of its states."""

from __future__ import annotations

import pytest

from ime_live.local.played_clock import MAX_PAUSE, PlayedClock
from tests.support.clock import FakeClock

BEGIN = 1_000_000_000_000_000
SECOND = 1_000_000


async def test_time_stands_still_before_the_start_and_between_moments() -> None:
    machine = FakeClock()
    clock = PlayedClock(BEGIN, 10, clock=machine)
    machine.now += 60
    assert clock.time_us() == BEGIN
    clock.start()
    await clock.reach(BEGIN + 5 * SECOND)
    machine.now += 60
    assert clock.time_us() == BEGIN + 5 * SECOND


@pytest.mark.parametrize(("speed", "waits"), [(1, 5.0), (10, 0.5), (0.5, 10.0)])
async def test_wait_is_scaled_by_the_speed(speed: float, waits: float) -> None:
    machine = FakeClock()
    clock = PlayedClock(BEGIN, speed, clock=machine)
    clock.start()
    await clock.reach(BEGIN + 5 * SECOND)
    assert machine.waits == [pytest.approx(waits)]
    assert clock.time_us() == BEGIN + 5 * SECOND


async def test_greatest_speed_shows_no_moment_that_cannot_be() -> None:
    machine = FakeClock()
    clock = PlayedClock(BEGIN, 1e300, clock=machine)
    clock.start()
    await clock.reach(BEGIN + 5 * SECOND)
    machine.now += 10_000
    assert clock.time_us() == BEGIN + 5 * SECOND


async def test_speed_zero_waits_for_nothing() -> None:
    machine = FakeClock()
    clock = PlayedClock(BEGIN, 0, clock=machine)
    clock.start()
    assert clock.is_due(BEGIN + 10**12)
    await clock.reach(BEGIN + 10**12)
    assert machine.waits == []
    assert clock.time() == (BEGIN + 10**12) / SECOND


async def test_time_passes_at_the_speed_during_a_wait() -> None:
    machine = FakeClock()
    seen: list[int] = []

    class Watched(FakeClock):
        async def sleep(self, seconds: float) -> None:
            self.now += seconds / 2
            seen.append(clock.time_us())
            self.now += seconds / 2

    machine = Watched()
    clock = PlayedClock(BEGIN, 10, clock=machine)
    clock.start()
    await clock.reach(BEGIN + 20 * SECOND)
    assert seen == [pytest.approx(BEGIN + 10 * SECOND, abs=2)]


async def test_time_that_work_takes_is_made_up_for() -> None:
    machine = FakeClock()
    clock = PlayedClock(BEGIN, 1, clock=machine)
    clock.start()
    await clock.reach(BEGIN + SECOND)
    machine.now += 0.25
    await clock.reach(BEGIN + 2 * SECOND)
    assert machine.waits == [pytest.approx(1.0), pytest.approx(0.75)]
    machine.now += 7
    assert clock.is_due(BEGIN + 9 * SECOND)
    assert not clock.is_due(BEGIN + 10 * SECOND)


async def test_night_is_not_waited_for() -> None:
    machine = FakeClock()
    clock = PlayedClock(BEGIN, 2, clock=machine)
    clock.start()
    await clock.reach(BEGIN + 50_000 * SECOND)
    assert machine.waits == [pytest.approx(MAX_PAUSE / SECOND / 2)]
    assert clock.time_us() == BEGIN + 50_000 * SECOND


async def test_time_does_not_go_back() -> None:
    clock = PlayedClock(BEGIN, 0, clock=FakeClock())
    await clock.reach(BEGIN + SECOND)
    await clock.reach(BEGIN)
    assert clock.time_us() == BEGIN + SECOND
