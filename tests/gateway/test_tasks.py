"""Background tasks are restarted after any failure."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import pytest

from ime_live.gateway.tasks import (
    LONGEST_WAIT,
    RAN_WELL,
    TimeSlice,
    jittered,
    keep_running,
    wait_for_event,
)
from tests.support.clock import FakeClock


class StopTestError(BaseException):
    """Ends a part that would go on."""


class World:
    """A part that does what it is told, on a fake clock."""

    def __init__(self, *runs: tuple[float, BaseException | None]) -> None:
        """Take how many seconds each run takes, and what it ends with."""
        self._runs = list(runs)
        self.clock = FakeClock()
        self.failures: list[BaseException] = []

    async def run(self) -> None:
        if not self._runs:
            raise StopTestError
        seconds, error = self._runs.pop(0)
        self.clock.now += seconds
        if error is not None:
            raise error

    async def play(self) -> None:
        with pytest.raises(StopTestError):
            await keep_running(
                self.run,
                self.failures.append,
                clock=self.clock,
                random=lambda: 0.999,
            )


ERRORS: Final[Sequence[Exception]] = [
    RuntimeError("a closed transport"),
    TypeError("an odd entry of the store"),
    OSError(28, "No space left on device"),
    MemoryError(),
]


async def test_failed_task_is_restarted_and_logged() -> None:
    world = World(*((1.0, error) for error in ERRORS))
    await world.play()
    assert world.failures == ERRORS


async def test_backoff_of_restarts_grows_to_its_limit() -> None:
    world = World(*((1.0, RuntimeError()) for _ in range(12)))
    await world.play()
    assert world.clock.waits == sorted(world.clock.waits)
    assert world.clock.waits[0] < 1
    assert LONGEST_WAIT * 0.9 < world.clock.waits[-1] < LONGEST_WAIT


async def test_backoff_is_reset_after_a_long_run() -> None:
    world = World(*((1.0, RuntimeError()) for _ in range(5)), (RAN_WELL + 1, RuntimeError()))
    await world.play()
    assert world.clock.waits[-1] == world.clock.waits[0]


async def test_task_that_returns_has_failed() -> None:
    world = World((1.0, None))
    await world.play()
    assert [str(error) for error in world.failures] == [
        "a task must run until cancelled, but it has returned"
    ]


async def test_cancellation_of_another_task_does_not_end_the_task() -> None:
    world = World((1.0, asyncio.CancelledError()))
    await world.play()
    assert [type(error) for error in world.failures] == [asyncio.CancelledError]


async def test_own_cancellation_ends_the_task() -> None:
    async def run() -> None:
        await asyncio.Event().wait()

    failures: list[BaseException] = []
    task = asyncio.create_task(keep_running(run, failures.append))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not failures


async def test_woken_says_whether_the_event_came_in_time() -> None:
    event = asyncio.Event()
    assert not await wait_for_event(event, 0.001)
    asyncio.get_running_loop().call_soon(event.set)
    assert await wait_for_event(event, 20)
    assert await wait_for_event(event, 0)  # it is there already


async def test_long_task_yields_to_others_once_per_time_slice() -> None:
    clock = FakeClock()
    others = 0

    def run_other() -> None:
        nonlocal others
        others += 1

    time_slice = TimeSlice(clock)
    for _ in range(4):
        asyncio.get_running_loop().call_soon(run_other)
        await time_slice.yield_if_over()
    assert others == 0
    clock.now += 0.006
    await time_slice.yield_if_over()
    assert others == 4
    asyncio.get_running_loop().call_soon(run_other)
    await time_slice.yield_if_over()
    assert others == 4


def test_jittered_waits_are_shorter_than_the_interval_and_differ() -> None:
    waits = [jittered(10.0) for _ in range(100)]
    assert all(8.0 <= wait <= 10.0 for wait in waits)
    assert len(set(waits)) > 1
