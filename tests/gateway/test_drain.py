"""The drain: its states, which streams it refuses, and how evenly it closes the open ones."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from ime_live.errors import LimitError, RefusedError
from ime_live.gateway.drain import Drain, DrainState
from tests.support.clock import FakeClock

BEGIN = 1000.0


class Streams:
    """Open streams by number, which take down when they were ended."""

    def __init__(self, count: int, clock: FakeClock) -> None:
        self.open = list(range(count))
        self.ends: list[tuple[float, int]] = []
        self.reasons: set[tuple[int, str]] = set()
        self._clock = clock

    def __len__(self) -> int:
        return len(self.open)

    def end_oldest(self, count: int, refusal: RefusedError) -> None:
        """End so many."""
        self.reasons.add((int(refusal.code), refusal.reason))
        self.ends += [(self._clock.now - BEGIN, number) for number in self.open[:count]]
        del self.open[:count]


class Draining:
    """A drain with a fake clock, and its streams."""

    def __init__(self, count: int, *, grace: float = 0.0, spread: float = 15.0) -> None:
        self.refusal: tuple[int, float, str] | None = None
        """Status, seconds to wait and reason of the last refusal."""
        self.clock = FakeClock(BEGIN)
        self.streams = Streams(count, self.clock)
        self.drain = Drain(
            self.streams,
            grace=grace,
            spread=spread,
            clock=self.clock,
            random=lambda: 0.5,
        )

    def accepts(self) -> bool:
        """Whether a new stream may begin."""
        try:
            self.drain.check()
        except LimitError as error:
            self.refusal = (error.status, error.retry_after, error.reason)
            return False
        return True

    async def at_each_wait(self, act: Callable[[], object]) -> None:
        """Run it, and call a function at the beginning of each of its waits."""
        task = asyncio.create_task(self.drain.run())
        waits = 0
        while not task.done():
            await asyncio.sleep(0)
            if len(self.clock.waits) > waits:
                waits = len(self.clock.waits)
                act()
        task.result()


async def test_streams_are_accepted_until_the_grace_is_over() -> None:
    draining = Draining(2, grace=3.0)
    seen: list[tuple[float, DrainState, bool, int]] = []
    assert draining.accepts()

    def look() -> None:
        drain = draining.drain
        seen.append((draining.clock.now, drain.state, draining.accepts(), len(draining.streams)))

    look()
    await draining.at_each_wait(look)
    look()
    # FakeClock moves on before it yields: the second look is at the end of the grace.
    assert seen[0] == (BEGIN, DrainState.SERVING, True, 2)
    assert seen[1] == (BEGIN + 3, DrainState.DRAINING, True, 2)
    assert seen[2][1:] == (DrainState.DRAINING, False, 1)
    assert seen[-1][1:] == (DrainState.DRAINED, False, 0)
    assert draining.refusal == (503, 6.0, "draining")
    assert draining.streams.ends == [(3.0, 0), (10.5, 1)]
    assert draining.streams.reasons == {(1001, "going away")}


async def test_drain_without_grace_begins_to_close_at_once() -> None:
    draining = Draining(1, grace=3.0)
    await draining.drain.run(grace=False)
    assert draining.streams.ends == [(0.0, 0)]


@pytest.mark.parametrize("count", [2, 10, 100, 1000, 2000, 50_000])
async def test_no_second_closes_more_than_its_share(count: int) -> None:
    draining = Draining(count)
    await draining.drain.run()
    assert [number for _, number in draining.streams.ends] == list(range(count))
    by_second = Counter(int(moment + 1e-6) for moment, _ in draining.streams.ends)
    assert max(by_second.values()) <= count / 15 * 1.1 + 1
    assert draining.clock.now <= BEGIN + 15
    # Never more often than twenty times a second, however many there are.
    assert len(draining.clock.waits) <= 15 * 20


@pytest.mark.parametrize(("count", "spread"), [(0, 15.0), (1, 15.0), (3, 0.0), (0, 0.0)])
async def test_drain_without_streams_or_spread_ends_at_once(count: int, spread: float) -> None:
    draining = Draining(count, spread=spread)
    await draining.drain.run()
    assert draining.clock.now == BEGIN
    assert len(draining.streams) == 0


async def test_clients_that_leave_make_the_drain_shorter_and_not_faster() -> None:
    draining = Draining(100)

    def leave() -> None:
        del draining.streams.open[50:]

    await draining.at_each_wait(leave)
    moments = [moment for moment, _ in draining.streams.ends]
    assert len(moments) == 51  # the one that was closed first
    assert min(later - one for one, later in pairwise(moments)) > 0.14
    assert draining.clock.now <= BEGIN + 15


async def test_late_wake_up_closes_the_rest_at_once() -> None:
    draining = Draining(100)

    def suspend() -> None:
        draining.clock.now += 60  # as a machine that was suspended

    await draining.at_each_wait(suspend)
    assert len(draining.streams) == 0
    assert draining.drain.state is DrainState.DRAINED
