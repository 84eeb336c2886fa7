"""FeedMonitor: what the gateway knows of the feed, as far as Redis can tell it.

What the feed says of itself and whether one leads come in, once a second; its state goes out, and
whoever is concerned is told when that changes. It knows Redis by one narrow interface, and
neither clients nor probes.

There need not be a feed: who publishes with a program of their own has none, and then there is
no state. That is no fault.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec
import structlog

from ime_live.contracts import Market
from ime_live.errors import StoreError
from ime_live.status import FeedState, FeedStatus

log = structlog.get_logger()

# The lease ends 3 s after its holder; one second more until everybody knows is little beside it.
INTERVAL: Final = 1.0

NO_FEED: Final = "no feed is running"
# Without the address: clients read this.
CUT_OFF: Final = "Redis cannot be reached"


class Leader(Protocol):
    """Where the leading feed says how it is, as `FeedMonitor` needs it."""

    async def read(self) -> tuple[FeedStatus | None, bool]:
        """What it wrote last, and whether there is one now; raises StoreError."""


class FeedMonitor:
    """See the module's text."""

    def __init__(
        self, leader: Leader, *, clock: Callable[[], int], changed: Callable[[], None]
    ) -> None:
        """Know nothing of a feed yet.

        Args:
            leader: where it says how it is.
            clock: microseconds since the epoch.
            changed: called when its state, or that of one of its markets, is another one.
        """
        self._leader = leader
        self._clock = clock
        self._changed = changed
        self.status: FeedStatus | None = None
        """The feed as it is now; None if there never was one."""
        self.reached = True
        """Whether Redis answered when it was asked last; True before that."""

    @property
    def state(self) -> FeedState | None:
        """The feed's state; None if there never was a feed."""
        return None if self.status is None else self.status.state

    async def run(self) -> None:
        """Keep it current, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(INTERVAL * random.uniform(0.8, 1.0))  # noqa: S311 - not in step

    async def look(self) -> None:
        """Ask once how the feed is."""
        try:
            written, led = await self._leader.read()
        except StoreError:
            # The subscriber logs it; here it is a change of state, and said once as that.
            self.reached = False
            self._take(cut_off(self.status, self._clock()))
            return
        self.reached = True
        self._take(written if led else without_leader(written))

    def _take(self, status: FeedStatus | None) -> None:
        before, self.status = self.status, status
        if _gist(before) == _gist(status):
            return
        if status is None:
            log.info("the feed's status is gone")
        else:
            log.info(
                "the feed's state",
                state=status.state.value,
                source=status.source,
                error=status.error,
                markets={market.value: each.state.value for market, each in status.markets.items()},
            )
        self._changed()


def without_leader(written: FeedStatus | None) -> FeedStatus | None:
    """What is to be said of a feed that wrote this and leads no more.

    It is down since it wrote last, on every gateway and whenever that was started.
    """
    if written is None:
        return None
    return _down(written, written.written or written.since, NO_FEED)


def cut_off(before: FeedStatus | None, now: int) -> FeedStatus:
    """What is to be said while Redis cannot be reached.

    Down even where there is no feed: what is published does not get here either way.

    Args:
        before: what was said before.
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
    # What clients are told at once; the rest can wait for the next round.
    if status is None:
        return None
    states = {market: each.state for market, each in status.markets.items()}
    return status.state, status.since, states
