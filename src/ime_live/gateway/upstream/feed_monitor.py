"""Watch the state of the feed, as read from Redis once a second.

The monitor reads what the feed says about itself and whether a feed leads, and calls back when
that changes.

There need not be a feed: somebody who publishes with a program of their own has none, and then
there is no state. That is not a fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec
import structlog

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.contracts import Market
from ime_live.errors import StoreError
from ime_live.gateway.tasks import jittered
from ime_live.status import FeedState, FeedStatus
from ime_live.store.lease import BARS, FEED, UNREADABLE

log = structlog.get_logger()

# The lease ends 3 s after its holder; one second more until every gateway knows is little.
INTERVAL: Final = 1.0

NO_FEED: Final = "no feed is running"
NO_BARS: Final = "no bar aggregator is running"
# Without the address: clients read this.
CUT_OFF: Final = "Redis cannot be reached"


class LeaseReader(Protocol):
    """Reads the status that the leading feed has written."""

    async def read(self) -> tuple[FeedStatus | None, bool]:
        """Return the last status, and whether a feed leads now; raises StoreError."""


class FeedMonitor:
    """Holds the feed's present state in `status`, and reports each change of it.

    With the program `BARS` it does so for the program that keeps bars.
    """

    def __init__(
        self,
        leader: LeaseReader,
        *,
        program: str = FEED,
        clock: Clock = SYSTEM_CLOCK,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """Start without a state.

        Args:
            leader: reads the feed's status.
            program: what leads: `FEED` or `BARS`.
            clock: the machine's clock.
            changed: called when the state of the feed, or of one of its markets, has changed.
        """
        self._leader = leader
        self._program = program
        self._clock = clock
        self._changed = changed
        self.status: FeedStatus | None = None
        """The feed as it is now; None if there never was one."""
        self.reached = True
        """Whether Redis answered the last time; True before the first time."""
        self.readable = False
        """Whether the last look could tell what the feed has written, or that it has not."""

    @property
    def state(self) -> FeedState | None:
        """The feed's state; None if there never was a feed."""
        return None if self.status is None else self.status.state

    async def run(self) -> None:
        """Keep the status current, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(jittered(INTERVAL))

    async def look(self) -> None:
        """Read the feed's status once."""
        try:
            written, led = await self._leader.read()
        except StoreError:
            # The subscriber logs the outage; here it is one change of state, logged as such.
            self.reached = self.readable = False
            self._take(cut_off(self.status, self._clock.time_us()))
            return
        self.reached = True
        self.readable = written is None or written.error != UNREADABLE
        missing = NO_BARS if self._program == BARS else NO_FEED
        self._take(written if led else without_leader(written, missing))

    def _take(self, status: FeedStatus | None) -> None:
        before, self.status = self.status, status
        if _gist(before) == _gist(status):
            return
        if status is None:
            log.info(f"the status of the {self._program} has been deleted")
        else:
            log.info(
                f"state of the {self._program}",
                state=status.state.value,
                source=status.source,
                error=status.error,
                markets={market.value: each.state.value for market, each in status.markets.items()},
            )
        self._changed()


def without_leader(written: FeedStatus | None, missing: str = NO_FEED) -> FeedStatus | None:
    """Return the status of a feed that wrote ``written`` and no longer leads.

    It is down since it wrote last: every gateway says the same, whenever it was started.

    Args:
        written: what it has written last; None if there never was one.
        missing: the error of the status.
    """
    if written is None:
        return None
    return _down(written, written.written or written.since, missing)


def cut_off(before: FeedStatus | None, now: int) -> FeedStatus:
    """Return the status while Redis cannot be reached.

    It is down even if there is no feed: updates do not get here either way.

    Args:
        before: the status before.
        now: microseconds since the epoch.
    """
    if before is None:
        return FeedStatus(FeedState.DOWN, now, error=CUT_OFF)
    return _down(before, now, CUT_OFF)


def _down(status: FeedStatus, since: int, error: str) -> FeedStatus:
    return msgspec.structs.replace(
        status,
        state=FeedState.DOWN,
        since=status.since if status.state is FeedState.DOWN else since,
        markets={
            market: msgspec.structs.replace(each, state=FeedState.DOWN)
            for market, each in status.markets.items()
        },
        source="",
        error=error,
        lag=None,
    )


def _gist(status: FeedStatus | None) -> tuple[FeedState, int, Mapping[Market, FeedState]] | None:
    # Clients get this change at once; the rest can wait for the next round.
    if status is None:
        return None
    states = {market: each.state for market, each in status.markets.items()}
    return status.state, status.since, states
