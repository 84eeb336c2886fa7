"""Leadership: renew a feed's lease and write its status, every second."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from typing import Final, Protocol

import structlog
from msgspec.structs import replace

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import FencedError, StoreError
from ime_live.log_limiter import LogLimiter
from ime_live.status import FeedState, FeedStatus
from ime_live.store.lease import FEED, LEASE, LeaseState

log = structlog.get_logger()

INTERVAL: Final = 1.0
"""Seconds between two renewals. A standby leads after at most `LEASE` plus one interval."""

LEAVING: Final = 2.0
"""Timeout in seconds for giving up the lease, which expires by itself soon after."""

_MARGIN: Final = 0.5  # seconds before the lease's end when the feed stops relying on it


def holder_name() -> str:
    """Return a unique name for this feed: machine, process and a random part."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(2)}"


class FeedLease(Protocol):
    """Interface of `ime_live.store.lease.Lease` for a feed; every method raises StoreError."""

    @property
    def holder(self) -> str:
        """Name of this feed."""

    async def take(self) -> LeaseState:
        """Take or renew the lease."""

    def note(self, token: int, /) -> None:
        """Note a fencing token; the next leadership has a greater one."""

    async def release(self) -> None:
        """Give up the lease."""

    async def write(self, status: FeedStatus, /) -> None:
        """Write the status of the feed."""


class Leadership:
    """Knows whether this feed leads, and renews its lease."""

    def __init__(
        self,
        lease: FeedLease,
        status: Callable[[], FeedStatus],
        *,
        on_lead: Callable[[], None],
        program: str = FEED,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Create a leadership; `run` does the work.

        Args:
            lease: the lease.
            status: returns the status of this feed.
            on_lead: called when this feed has become the leader. The states in the store are
                unknown then, because another feed led or the store was emptied.
            program: the program that leads, for the log.
            clock: the machine's clock.
        """
        self._lease = lease
        self._status = status
        self._on_lead = on_lead
        self._program = program
        self._clock = clock
        self.token = 0
        """Fencing token of the present leadership, of this feed or another one."""
        self.begun = 0
        """Number of times that this feed has become the leader."""
        self.reached = False
        """Whether the store has answered the last call."""
        self._until = float("-inf")
        self._led: bool | None = None
        self._limited = LogLimiter(log, clock=clock)

    @property
    def leads(self) -> bool:
        """Whether this feed certainly has the lease, which expires if it is not renewed."""
        return self._clock.monotonic() < self._until

    async def run(self) -> None:
        """Renew the lease until cancelled; then release it, and write that in the status."""
        try:
            while True:
                await self.renew()
                await asyncio.sleep(INTERVAL)
        finally:
            if self.leads:
                self._until = float("-inf")
                await self._leave()

    def note_fenced(self, token: int) -> None:
        """Note that a write was refused because of a newer fencing token.

        This feed no longer leads, until it takes the lease again.
        """
        self._lease.note(token)
        self._until = float("-inf")

    async def renew(self) -> None:
        """Renew the lease and write the status, once."""
        requested_at = self._clock.monotonic()
        try:
            lease = await self._lease.take()
            self.reached = True
            self.token = lease.token
            if lease.leads:
                self._until = requested_at + LEASE - _MARGIN
                if lease.anew:
                    self.begun += 1
                    self._on_lead()
                await self._lease.write(self._named(self._status()))
            else:
                self._until = float("-inf")
        except FencedError as error:
            self.note_fenced(error.token)
            return
        except StoreError as error:
            event = f"the {self._program}'s status cannot be written"
            self._limited.warning(event, key="outage", error=str(error))
            self.reached = False
            return
        self._limited.forget("outage")
        if lease.leads != self._led:
            self._led = lease.leads
            name = self._program
            log.info(f"this {name} leads" if lease.leads else f"another {name} leads; standing by")

    def _named(self, status: FeedStatus) -> FeedStatus:
        return replace(status, feed=self._lease.holder, token=self.token)

    async def _leave(self) -> None:
        status = self._status()
        down = replace(
            status, state=FeedState.DOWN, since=status.written, error=f"{self._program} was stopped"
        )

        async def give_up() -> None:
            await self._lease.write(self._named(down))
            await self._lease.release()

        try:
            # In a task of its own: before Python 3.11.4, `asyncio.timeout` raises CancelledError
            # instead of TimeoutError in a task that was cancelled.
            await asyncio.wait_for(give_up(), LEAVING)
        except TimeoutError:
            log.warning(f"the {self._program}'s lease cannot be released in time; it will expire")
        except StoreError as error:
            log.warning(
                f"the {self._program}'s lease cannot be released; it will expire", error=str(error)
            )
