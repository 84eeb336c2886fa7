"""Drain: take a process out of service, and move its clients to other gateways in even steps.

A process is drained before it stops, or for maintenance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum
from random import random as random_fraction
from typing import Final, Protocol

import structlog

from ime_live.backoff import retry_after
from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import CloseCode, LimitError, RefusedError

log = structlog.get_logger()

_STEP: Final = 0.05  # seconds; streams that are due within a step are closed together
_POLL_INTERVAL: Final = 0.1  # seconds between two checks whether clients have left by themselves


class DrainState(StrEnum):
    """States of a process."""

    SERVING = "serving"
    DRAINING = "draining"
    DRAINED = "drained"


class DrainedStreams(Protocol):
    """Interface to the open streams of a process."""

    def __len__(self) -> int:
        """Return the number of open streams."""

    def end_oldest(self, count: int, refusal: RefusedError, /) -> None:
        """End a number of streams, the oldest first."""


class Drain:
    """The drain of one process.

    Attributes:
        state: state of the process, which is ready only while it is serving.
    """

    def __init__(
        self,
        streams: DrainedStreams,
        *,
        grace: float,
        spread: float,
        clock: Clock = SYSTEM_CLOCK,
        random: Callable[[], float] = random_fraction,
    ) -> None:
        """Create a drain that has not begun.

        Args:
            streams: the open streams.
            grace: time in which new streams are still accepted, because load balancers have not
                noticed yet that the process is not ready [s].
            spread: time over which the streams are closed afterwards [s].
            clock: the machine's clock.
            random: returns a number from 0 to below 1.
        """
        self.state = DrainState.SERVING
        self._streams = streams
        self._grace = grace
        self._spread = spread
        self._clock = clock
        self._random = random
        self._refuses = False

    def check(self) -> None:
        """Check that new streams are accepted.

        Raises:
            LimitError: 503; the process drains, and the grace is over.
        """
        if self._refuses:
            wait = retry_after(self._random)
            raise LimitError("draining", retry_after=wait, status=503, kind="draining")

    async def run(self, *, grace: bool = True) -> None:
        """Drain the process. Call this only once.

        Args:
            grace: whether to wait for load balancers first.
        """
        began_at = self._clock.monotonic()
        self.state = DrainState.DRAINING
        wait = self._grace if grace else 0.0
        log.info("draining", streams=len(self._streams), grace=wait, spread=self._spread)
        if wait:
            await self._clock.sleep(wait)
        self._refuses = True
        await self._close()
        self.state = DrainState.DRAINED
        log.info("drained", seconds=round(self._clock.monotonic() - began_at, 3))

    async def _close(self) -> None:
        refusal = RefusedError("going away", code=CloseCode.GOING_AWAY)
        turn = self._clock.monotonic()
        end = turn + self._spread
        # Clients may leave by themselves, so each step spreads the remaining streams over the
        # remaining time.
        while count := len(self._streams):
            now = self._clock.monotonic()
            if now < turn:
                await self._clock.sleep(min(turn - now, _POLL_INTERVAL))
                continue
            remaining = end - now
            due = min(count, math.ceil(count * _STEP / remaining)) if remaining > 0 else count
            self._streams.end_oldest(due, refusal)
            turn = now + remaining * due / count
