"""What runs beside the connections goes on, whatever befalls it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import pytest

from ime_live.gateway.tasks import LONGEST_WAIT, RAN_WELL, keep_running
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
                jitter=lambda: 0.999,
            )


ERRORS: Final[Sequence[Exception]] = [
    RuntimeError("a closed transport"),
    TypeError("an odd entry of the store"),
    OSError(28, "No space left on device"),
    MemoryError(),
]


async def test_a_part_that_fails_is_started_again_and_its_failure_told() -> None:
    world = World(*((1.0, error) for error in ERRORS))
    await world.play()
    assert world.failures == ERRORS


async def test_waits_grow_up_to_a_limit() -> None:
    world = World(*((1.0, RuntimeError()) for _ in range(12)))
    await world.play()
    assert world.clock.waits == sorted(world.clock.waits)
    assert world.clock.waits[0] < 1
    assert LONGEST_WAIT * 0.9 < world.clock.waits[-1] < LONGEST_WAIT


async def test_a_failure_long_after_the_last_one_is_waited_for_as_the_first() -> None:
    world = World(*((1.0, RuntimeError()) for _ in range(5)), (RAN_WELL + 1, RuntimeError()))
    await world.play()
    assert world.clock.waits[-1] == world.clock.waits[0]


async def test_a_part_that_ends_has_failed() -> None:
    world = World((1.0, None))
    await world.play()
    assert [str(error) for error in world.failures] == [
        "a part must run until cancelled, but it has ended"
    ]


async def test_a_cancellation_of_something_else_does_not_end_it() -> None:
    world = World((1.0, asyncio.CancelledError()))
    await world.play()
    assert [type(error) for error in world.failures] == [asyncio.CancelledError]


async def test_its_own_cancellation_ends_it() -> None:
    async def run() -> None:
        await asyncio.Event().wait()

    failures: list[BaseException] = []
    task = asyncio.create_task(keep_running(run, failures.append))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not failures
