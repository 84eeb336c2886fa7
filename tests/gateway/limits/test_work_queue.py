"""Work for clients: a few jobs per turn of the event loop, in the order of their arrival."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ime_live.gateway.limits.work_queue import JOBS_PER_TURN, WorkQueue


class Turns:
    """A loop whose turns are taken by a test."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []

    def take(self) -> None:
        """Run what is due in this turn."""
        due, self.soon = self.soon, []
        for act in due:
            act()


@pytest.fixture
def turns() -> Turns:
    return Turns()


@pytest.fixture
def work(turns: Turns) -> WorkQueue:
    return WorkQueue(lambda act: turns.soon.append(act))


def test_first_jobs_of_a_turn_run_at_once(work: WorkQueue) -> None:
    done: list[int] = []
    assert [work.run(lambda: done.append(1)) for _ in range(JOBS_PER_TURN + 1)] == [
        *[True] * JOBS_PER_TURN,
        False,
    ]
    assert len(done) == JOBS_PER_TURN
    assert len(work) == 1


def test_further_jobs_run_in_later_turns_in_order(work: WorkQueue, turns: Turns) -> None:
    done: list[int] = []
    for number in range(3 * JOBS_PER_TURN):
        work.run(lambda number=number: done.append(number))  # type: ignore[misc] # mypy #15459
    for turn in (1, 2, 3, 3):
        assert done == list(range(turn * JOBS_PER_TURN))
        turns.take()
    assert turns.soon == []


def test_job_does_not_overtake_those_that_wait(work: WorkQueue, turns: Turns) -> None:
    done: list[str] = []
    work.add(lambda: done.append("first"))
    assert not work.run(lambda: done.append("second"))
    assert done == []
    turns.take()
    assert done == ["first", "second"]


def test_job_that_adds_itself_again_lets_others_go_on(work: WorkQueue, turns: Turns) -> None:
    done: list[str] = []

    def flood() -> None:
        done.append("flood")
        work.add(flood)

    work.run(flood)
    for _ in range(JOBS_PER_TURN):
        work.run(lambda: done.append("other"))
    turns.take()
    assert done.count("other") >= JOBS_PER_TURN - 1
    assert done.count("flood") <= 2


def test_failed_job_loses_no_other(work: WorkQueue, turns: Turns) -> None:
    done: list[int] = []
    work.add(lambda: 1 // 0)
    work.add(lambda: done.append(1))
    with pytest.raises(ZeroDivisionError):
        turns.take()
    turns.take()
    assert done == [1]


async def test_awaited_turn_is_not_shared_with_jobs(work: WorkQueue, turns: Turns) -> None:
    done: list[str] = []
    await work.turn()
    assert not work.run(lambda: done.append("job"))
    waiting = [asyncio.ensure_future(work.turn()) for _ in range(2)]
    await asyncio.sleep(0)
    work.run(lambda: done.append("later"))
    turns.take()
    await asyncio.sleep(0)
    assert done == ["job"]
    assert [each.done() for each in waiting] == [True, False]
    waiting[1].cancel()
    await asyncio.sleep(0)
    turns.take()
    assert done == ["job", "later"]
    turns.take()
    assert turns.soon == []
