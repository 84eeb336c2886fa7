"""Monitor the state of the feed, which is read from Redis once a second.

The monitor reads the status that the feed has written, and whether a feed is the leader. It calls
back when the state changes. There may be no feed: other publishers write no status, and then there
is no state.
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

# Seconds between two readings. The lease ends 3 s after its holder, so a second more is little.
INTERVAL: Final = 1.0

NO_FEED: Final = "no feed is running"
NO_BARS: Final = "no bar aggregator is running"
# Without the address, because clients see this text.
CUT_OFF: Final = "Redis cannot be reached"


class LeaseReader(Protocol):
    """Reads the status that the leading feed has written."""

    async def read(self) -> tuple[FeedStatus | None, bool]:
        """Return the last status, and whether a feed is the leader now; raises StoreError."""


class FeedMonitor:
    """Holds the present status of the feed, or of the bar aggregator, and reports changes."""

    def __init__(
        self,
        leader: LeaseReader,
        *,
        program: str = FEED,
        clock: Clock = SYSTEM_CLOCK,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Start without a state.

        Args:
            leader: reads the status of the program.
            program: the program: `FEED` or `BARS`.
            clock: the machine's clock.
            on_change: called when the state of the program, or of one of its markets, has changed.
        """
        self._leader = leader
        self._program = program
        self._clock = clock
        self._on_change = on_change
        self.status: FeedStatus | None = None
        """The present status; None if there never was one."""
        self.reached = True
        """Whether Redis answered the last reading; True before the first reading."""
        self.readable = False
        """Whether the last reading has returned a valid status, or no status."""

    @property
    def state(self) -> FeedState | None:
        """The state in the present status; None if there never was one."""
        return None if self.status is None else self.status.state

    async def run(self) -> None:
        """Keep the status current, until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(jittered(INTERVAL))

    async def poll(self) -> None:
        """Read the status once."""
        try:
            written, has_leader = await self._leader.read()
        except StoreError:
            # `PubSub` logs the outage; here only the change of state is logged.
            self.reached = self.readable = False
            self._take(cut_off(self.status, self._clock.time_us()))
            return
        self.reached = True
        self.readable = written is None or written.error != UNREADABLE
        missing = NO_BARS if self._program == BARS else NO_FEED
        self._take(written if has_leader else without_leader(written, missing))

    def _take(self, status: FeedStatus | None) -> None:
        previous, self.status = self.status, status
        if _essentials(previous) == _essentials(status):
            return
        if status is None:
            log.info(f"the status of the {self._program} has been deleted")
        else:
            log.info(
                f"the state of the {self._program} has changed",
                state=status.state.value,
                source=status.source,
                error=status.error,
                markets={market.value: each.state.value for market, each in status.markets.items()},
            )
        self._on_change()


def without_leader(written: FeedStatus | None, missing: str = NO_FEED) -> FeedStatus | None:
    """Return the status of a feed that is no longer the leader.

    The feed is down since its last status. So all gateways report the same time, even those that
    were started later.

    Args:
        written: the last status that the feed has written; None without one.
        missing: error of the returned status.
    """
    if written is None:
        return None
    return _down(written, written.written or written.since, missing)


def cut_off(before: FeedStatus | None, now: int) -> FeedStatus:
    """Return the status while Redis cannot be reached.

    The state is down even without a feed, because no updates arrive.

    Args:
        before: the previous status; None without one.
        now: the present time [microseconds since the epoch].
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


def _essentials(
    status: FeedStatus | None,
) -> tuple[FeedState, int, Mapping[Market, FeedState]] | None:
    # Changes of these fields are sent to clients at once, others in the next status message.
    if status is None:
        return None
    states = {market: each.state for market, each in status.markets.items()}
    return status.state, status.since, states
