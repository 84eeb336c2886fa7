"""Send status messages in rounds, each after a comparison with the store.

A round compares the contracts of all watching clients with the store, and first reads and sends
what is newer there. So a client that holds what the message lists is current. Without watching
clients, the store is not asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

import structlog

from ime_live.errors import StoreError
from ime_live.gateway.tasks import TimeSlice, jittered, woken
from ime_live.gateway.upstream.feed_monitor import FeedMonitor
from ime_live.gateway.upstream.reconciler import Reconciler
from ime_live.gateway.upstream.status_messages import StatusMessages
from ime_live.log_limiter import LogLimiter

log = structlog.get_logger()

# A store that hangs does not keep clients from being accepted; their status message shows it.
_COMPARE_TIMEOUT: Final = 2.0  # seconds

_FAILED: Final = "contracts cannot be compared with the store"


class StatusLoop:
    """Sends a round of status messages at each change of the feed's state, and at intervals."""

    def __init__(
        self, messages: StatusMessages, reconciler: Reconciler, feed: FeedMonitor, interval: float
    ) -> None:
        """Make the loop; `run` starts it.

        Args:
            messages: writes them to the clients that want them.
            reconciler: compares contracts with the store.
            feed: knows whether Redis was reached last.
            interval: maximum time between two rounds [s].
        """
        self._messages = messages
        self._reconciler = reconciler
        self._feed = feed
        self._interval = interval
        self._limited = LogLimiter(log)
        self._wake = asyncio.Event()

    def on_change(self) -> None:
        """Start a round, because the feed's state has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Start a round at each change and after each interval, until cancelled."""
        while True:
            await woken(self._wake, jittered(self._interval))
            self._wake.clear()
            await self._go()

    async def _go(self) -> None:
        # A client that joins later gets its own message, and this round's if its group is in it.
        groups = self._messages.groups
        if not groups:
            return
        current = await self.compare({t.contract_id for a in groups for t in a.channels})
        time_slice = TimeSlice()
        for _ in self._messages.send(groups, current):
            await time_slice.yield_if_over()

    async def compare(self, ids: Collection[str]) -> Collection[str]:
        """Compare contracts with the store, and read those that are newer there.

        Returns:
            Those that were equal there at most a second ago; none if the store does not answer in
            time.
        """
        if not self._feed.reached:
            return ()
        try:
            async with asyncio.timeout(_COMPARE_TIMEOUT):
                current = await self._reconciler.current(ids)
        except (StoreError, TimeoutError) as error:
            reason = str(error) or f"no answer within {_COMPARE_TIMEOUT:g} s"
            self._limited.warning(_FAILED, key=_FAILED, error=reason)
            return ()
        self._limited.forget(_FAILED)  # so that the next outage is logged at once
        return current
