"""Limit the work for clients per turn of the event loop, so that many at once delay nobody long.

Without it, a turn lasts as long as all requests and frames that have arrived at the same time, and
updates wait for its end. No I/O.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

JOBS_PER_TURN: Final = 2
"""Each takes some 0.3 ms, with the tasks that it starts."""

Job = Callable[[], object]


class WorkQueue:
    """Runs the jobs of all clients of a process: a few per turn, in the order of their arrival.

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
        self._left = JOBS_PER_TURN
        """Jobs that may still run in this turn."""
        self._is_scheduled = False

    def __len__(self) -> int:
        return len(self._waiting)

    def run(self, job: Job) -> bool:
        """Run a job now, or in a later turn if this one has had enough.

        Returns:
            Whether it has run.
        """
        if self._waiting or not self._left:
            self.add(job)
            return False
        self._left -= 1
        self._schedule()
        job()
        return True

    def add(self, job: Job) -> None:
        """Run a job in a later turn, after all others that wait."""
        self._waiting.append(job)
        self._schedule()

    async def turn(self) -> None:
        """Wait for a turn without other jobs, for work that may take as long as several."""
        if not self._waiting and self._left == JOBS_PER_TURN:
            self.take_rest()
            return
        ready = asyncio.get_running_loop().create_future()
        self.add(lambda: self._begin(ready))
        await ready

    def _begin(self, ready: asyncio.Future[None]) -> None:
        if not ready.done():  # else the client is gone
            self.take_rest()
            ready.set_result(None)

    def take_rest(self) -> None:
        """Run no other job in this turn, because the present one may take as long as several."""
        self._left = 0
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._is_scheduled = False
        self._left = JOBS_PER_TURN
        try:
            # A job that is added meanwhile waits for the next turn.
            for _ in range(min(len(self._waiting), self._left)):
                if not self._left:
                    break
                self._left -= 1
                self._waiting.popleft()()
        finally:
            # Also after a job that failed: the others do not wait for it.
            if self._waiting or self._left < JOBS_PER_TURN:
                self._schedule()
