"""Leader: publish while the feed leads, and publish everything again after a loss.

When it becomes the leader, it claims the contracts and publishes the newest boards. Then it
publishes changes, and confirms all states again and again. A standby writes nothing.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final, Protocol

import structlog

from ime_live.clock import Clock
from ime_live.contracts import Contract
from ime_live.errors import FencedError, StoreError
from ime_live.feeds.pipeline.ingest import Ingest
from ime_live.feeds.pipeline.leadership import Leadership
from ime_live.log_limiter import LogLimiter
from ime_live.publisher import PublishResult

log = structlog.get_logger()

CONFIRM_INTERVAL: Final = 10.0
"""Seconds within which every state is published again, changed or not, so that a state of another
writer is corrected by then."""

SETTLED_AFTER: Final = 2.0
"""Seconds after which all states are confirmed once more when this feed has become the leader, or
its store was unreachable or was replaced. By then, gateways have left a deposed master. If that one
hung, it now executes the commands that waited in its sockets, and publishes the states to gateways
that still listen, with newer versions than those of the present master."""

_TICK: Final = 0.2
"""Seconds between two steps without changes; a standby must take over within five. In each step a
share of the states is confirmed."""


class Writer(Protocol):
    """Interface of the leader's writer, as `ime_live.feeds.pipeline.fenced.FencedWriter`."""

    token: int

    async def claim(self, ids: Iterable[str], /) -> tuple[list[Contract], Mapping[str, datetime]]:
        """Refuse writes of former leaders; return the registered contracts, and the timestamps of
        stored states."""


class Leader:
    """The part of a feed that writes to the store."""

    def __init__(
        self,
        ingest: Ingest,
        writer: Writer,
        leadership: Leadership,
        *,
        boards: Collection[str],
        latest: Callable[[], datetime],
        failovers: Callable[[], int],
        clock: Clock,
    ) -> None:
        """Create a leader; `run` does the work.

        Args:
            ingest: holds the states to publish.
            writer: the writer of the ingest.
            leadership: knows whether this feed leads.
            boards: methods of the boards that are read.
            latest: latest plausible timestamp, see
                `ime_live.feeds.boards.newest.NewestBoards.take`.
            failovers: number of failovers of the store. States published just before one may be
                lost.
            clock: the machine's clock.
        """
        self._ingest = ingest
        self._writer = writer
        self._leadership = leadership
        self._boards = boards
        self._latest = latest
        self._failovers = failovers
        self._clock = clock
        self._seen_failovers = failovers()
        self._begins = True
        self._confirm_at = 0.0
        self._settled_at = math.inf
        self._noted = asyncio.Event()
        self._limited = LogLimiter(log, clock=clock)

    def begin(self) -> None:
        """Claim and publish everything with the next write: the store may hold other states."""
        self._begins = True

    def wake(self) -> None:
        """Publish the changes of the ingest soon."""
        self._noted.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK):
                    await self._noted.wait()
            self._noted.clear()
            if self._leadership.leads:
                await self.write()

    async def write(self) -> None:
        """Do one step: publish changes, and confirm a part of the states."""
        if self._failovers() != self._seen_failovers:
            self._seen_failovers = self._failovers()
            log.warning("another server is the store's master; publishing everything again")
            self._begins = True
        self._writer.token = self._leadership.token
        try:
            if self._begins:
                self._begins = False
                await self._take_over()
            refused = await self._ingest.publish_changes()
            if self._clock.monotonic() >= self._confirm_at:
                self._confirm_at = self._clock.monotonic() + _TICK
                refused += await self._confirm()
            if self._clock.monotonic() >= self._settled_at:
                self._settled_at = math.inf
                refused += await self._confirm(share=1)
        except FencedError as error:
            self._limited.warning(
                "this feed is no longer the leader", key="fenced", error=str(error)
            )
            self._leadership.note_fenced(error.token)
            self._begins = True
        except StoreError as error:
            self._limited.warning("market data cannot be published", key="outage", error=str(error))
            self._begins = True
        else:
            self._limited.forget("outage")
            self._report(refused)

    async def _take_over(self) -> None:
        # Boards may be minutes apart, so a new leader, or one whose store is back, publishes the
        # newest ones at once.
        contracts, pushed_at = await self._writer.claim(self._ingest.ids)
        own_contracts = [contract for contract in contracts if contract.board in self._boards]
        self._ingest.restore(own_contracts, pushed_at, self._latest())
        self._ingest.forget()
        self._settled_at = self._clock.monotonic() + SETTLED_AFTER

    async def _confirm(self, share: float = _TICK / CONFIRM_INTERVAL) -> tuple[PublishResult, ...]:
        refused, restored = await self._ingest.confirm(share)
        if restored:
            self._limited.warning(
                "the store held other states than this feed; published its own again",
                key="restored",
                contracts=len(restored),
                first=restored[0],
            )
        return refused

    def _report(self, refused: Iterable[PublishResult]) -> None:
        for outcome in refused:
            self._limited.warning(
                "state refused",
                key=("state", outcome.kind),
                contract_id=outcome.contract_id,
                error=str(outcome.error),
            )
