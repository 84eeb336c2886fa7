"""Run the background tasks of the gateway, restart them when they fail, and let them wait.

No failure of a part ends the process. That would disconnect all clients, even those that do not
need the part. The cause, such as an entry of the store that the part cannot handle, exists for
all gateways at once, and for the next process as well. So the part is started again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from ime_live.backoff import Backoff
from ime_live.clock import SYSTEM_CLOCK, Clock

LONGEST_WAIT: Final = 10.0
"""Longest wait before a part that fails again and again is restarted [s]."""

RAN_WELL: Final = 60.0
"""Seconds of running after which a failure is unrelated to the one before."""


_SLICE: Final = 0.005  # seconds


class TimeSlice:
    """The time for which a task may work before updates and other clients get their turn."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        """Begin to work."""
        self._monotonic = clock.monotonic
        self._end = self._monotonic() + _SLICE

    async def yield_if_over(self) -> None:
        """Let others run if the time is over, and begin a new slice then."""
        if self._monotonic() > self._end:
            await asyncio.sleep(0)
            self._end = self._monotonic() + _SLICE


async def keep_running(
    run: Callable[[], Awaitable[None]],
    failed: Callable[[BaseException], None],
    *,
    clock: Clock = SYSTEM_CLOCK,
    jitter: Callable[[], float] = random.random,
) -> None:
    """Run a part until cancelled; start it again, after a wait, whenever it fails or ends.

    Args:
        run: runs the part.
        failed: called with each failure.
        clock: the machine's clock, which waits.
        jitter: returns a number from 0 to below 1, so that gateways do not restart in step.
    """
    backoff = Backoff(LONGEST_WAIT, jitter, lasting=RAN_WELL)
    while True:
        started = clock.monotonic()
        try:
            await run()
            failed(RuntimeError("a part must run until cancelled, but it has ended"))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            failed(error)  # the cancellation of something that it waited for, not of itself
        except Exception as error:  # noqa: BLE001 - reported, and the part is started again
            failed(error)
        await clock.sleep(backoff.next(clock.monotonic() - started))


async def woken(event: asyncio.Event, within: float) -> bool:
    """Wait for an event, at most for some seconds; return whether it came."""
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        return False
    return True


def jittered(interval: float) -> float:
    """Return a random wait that is up to a fifth shorter, so that gateways do not act in step."""
    return interval * random.uniform(0.8, 1.0)  # noqa: S311 - spreads, keeps no secret
