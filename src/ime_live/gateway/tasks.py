"""Run the background tasks of the gateway, and restart those that fail.

The failure of a task does not end the process, which would disconnect all clients, even those that
do not need the task. The cause, such as an entry in the store that cannot be handled, would affect
all gateways, and the next process as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import random as random_fraction
from typing import Final

from ime_live.backoff import Backoff
from ime_live.clock import SYSTEM_CLOCK, Clock

LONGEST_WAIT: Final = 10.0
"""Longest wait before a restart after repeated failures [s]."""

RAN_WELL: Final = 60.0
"""Running time after which a failure is unrelated to the previous one [s]."""


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
    on_failure: Callable[[BaseException], None],
    *,
    clock: Clock = SYSTEM_CLOCK,
    random: Callable[[], float] = random_fraction,
) -> None:
    """Run a task until cancelled; restart it, after a wait, whenever it fails or returns.

    Args:
        run: the task.
        on_failure: called with each failure.
        clock: the machine's clock.
        random: returns a number from 0 to below 1, so that gateways do not restart tasks at once.
    """
    backoff = Backoff(LONGEST_WAIT, random, lasting=RAN_WELL)
    while True:
        started = clock.monotonic()
        try:
            await run()
            on_failure(RuntimeError("a task must run until cancelled, but it has returned"))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            on_failure(error)  # something was cancelled that the task awaited, not this task
        except Exception as error:  # noqa: BLE001 - reported, and the task is restarted
            on_failure(error)
        await clock.sleep(backoff.next(clock.monotonic() - started))


async def wait_for_event(event: asyncio.Event, within: float) -> bool:
    """Wait for an event, at most ``within`` seconds; return whether it was set."""
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        return False
    return True


def jittered(interval: float) -> float:
    """Return a random wait that is up to a fifth shorter, so that gateways do not act in step."""
    return interval * (0.8 + 0.2 * random_fraction())  # noqa: S311 - spreads, keeps no secret
