"""Limit the work for clients per turn of the event loop, so that many requests delay no update.

Without this limit, one turn of the event loop handles all requests and frames that have arrived,
and updates wait for its end. No I/O.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

JOBS_PER_TURN: Final = 2
"""Number of jobs per turn; each takes about 0.3 ms, with the tasks that it starts."""

Job = Callable[[], object]


class WorkQueue:
    """Runs the jobs of all clients of a process: a few per turn, in the order of arrival.

    Example:
        work = WorkQueue(loop.call_soon)
        work.run(lambda: protocol.answer(request))
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """Make an empty queue.

        Args:
            call_soon: runs a callable in the next turn of the event loop.
        """
        self._call_soon = call_soon
        self._waiting: deque[Job] = deque()
        self._remaining = JOBS_PER_TURN
        """Number of jobs that may still run in this turn."""
        self._is_scheduled = False

    def __len__(self) -> int:
        return len(self._waiting)

    def run(self, job: Job) -> bool:
        """Run a job now, or in a later turn if the present turn has run its jobs.

        Returns:
            Whether the job has run.
        """
        if self._waiting or not self._remaining:
            self.add(job)
            return False
        self._remaining -= 1
        self._schedule()
        job()
        return True

    def add(self, job: Job) -> None:
        """Run a job in a later turn, after all waiting jobs."""
        self._waiting.append(job)
        self._schedule()

    async def turn(self) -> None:
        """Wait for a turn without other jobs, for work that may take as long as several jobs."""
        if not self._waiting and self._remaining == JOBS_PER_TURN:
            self.take_rest()
            return
        ready = asyncio.get_running_loop().create_future()
        self.add(lambda: self._begin(ready))
        await ready

    def _begin(self, ready: asyncio.Future[None]) -> None:
        if not ready.done():  # else it was cancelled, because the client has left
            self.take_rest()
            ready.set_result(None)

    def take_rest(self) -> None:
        """Run no other job in this turn, because the present job may take as long as several."""
        self._remaining = 0
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._is_scheduled = False
        self._remaining = JOBS_PER_TURN
        try:
            # A job that is added meanwhile waits for the next turn.
            for _ in range(min(len(self._waiting), self._remaining)):
                if not self._remaining:
                    break
                self._remaining -= 1
                self._waiting.popleft()()
        finally:
            # Even if a job has failed, the next turn must run the others.
            if self._waiting or self._remaining < JOBS_PER_TURN:
                self._schedule()
