"""Send status messages, each time after a comparison with the store.

The comparison covers the contracts of all clients with ``status=true``, and first sends states that
are newer in the store. So a client is current if it has the states that the message lists.
Without such clients, nothing is read from the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

import structlog

from ime_live.errors import StoreError
from ime_live.gateway.tasks import TimeSlice, jittered, wait_for_event
from ime_live.gateway.upstream.feed_monitor import FeedMonitor
from ime_live.gateway.upstream.reconciler import Reconciler
from ime_live.gateway.upstream.status_messages import StatusMessages
from ime_live.log_limiter import LogLimiter

log = structlog.get_logger()

# Seconds. A store that hangs must not prevent new streams; their status messages show the fault.
_COMPARE_TIMEOUT: Final = 2.0

_FAILED: Final = "contracts cannot be compared with the store"


class StatusLoop:
    """Sends status messages at each change of the feed's state, and at intervals."""

    def __init__(
        self, messages: StatusMessages, reconciler: Reconciler, feed: FeedMonitor, interval: float
    ) -> None:
        """Make the loop; `run` starts it.

        Args:
            messages: sends the messages to the clients that want them.
            reconciler: compares contracts with the store.
            feed: holds whether Redis was reached last.
            interval: maximum time between two status messages to a client [s].
        """
        self._messages = messages
        self._reconciler = reconciler
        self._feed = feed
        self._interval = interval
        self._limited = LogLimiter(log)
        self._wake = asyncio.Event()

    def on_change(self) -> None:
        """Send status messages soon, because the feed's state has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Send status messages at each change and after each interval, until cancelled."""
        while True:
            await wait_for_event(self._wake, jittered(self._interval))
            self._wake.clear()
            await self._send()

    async def _send(self) -> None:
        # A client that joins meanwhile gets its first message from `StatusMessages.add`.
        groups = self._messages.groups
        if not groups:
            return
        ids = {channel.contract_id for group in groups for channel in group.channels}
        current = await self.compare(ids)
        time_slice = TimeSlice()
        for _ in self._messages.send(groups, current):
            await time_slice.yield_if_over()

    async def compare(self, ids: Collection[str]) -> Collection[str]:
        """Compare contracts with the store, and take states that are newer there.

        Returns:
            The contracts that were current at most a second ago; empty if the store does not
            answer in time.
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
