"""Fenced writer: write with the leader's fencing token.

The store refuses a write with an older token than one it has seen. So a delayed write of a former
leader changes nothing once another feed leads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.contracts import Contract
from ime_live.errors import ContractError
from ime_live.feeds.boards.newest import NewestBoards
from ime_live.feeds.pipeline.registrar import Registrar
from ime_live.market import Payload
from ime_live.monitoring.store_writes import StoreWrites
from ime_live.publisher import PublishResult


class FencedPublisher(Protocol):
    """Interface of a publisher that takes a fencing token, as `ime_live.publisher.Publisher`."""

    async def publish_many(
        self,
        payloads: Iterable[tuple[str, Payload]],
        /,
        *,
        token: int | None,
        pushed_at: Mapping[str, datetime],
    ) -> list[PublishResult]:
        """Publish states, and return one result each in order; raises StoreError or FencedError."""


class FencedWriter:
    """Registers contracts and publishes states with the leader's token.

    Attributes:
        token: fencing token of the present leadership.
    """

    def __init__(
        self,
        publisher: FencedPublisher,
        registrar: Registrar,
        newest: NewestBoards,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Create a writer of a feed that does not lead yet.

        Args:
            publisher: publishes the states.
            registrar: registers the contracts.
            newest: gives the timestamps of the states, for the next leader.
            clock: the machine's clock.
        """
        self.token = 0
        self.writes = StoreWrites(clock)
        """Durations of the writes, and counts of failures."""
        self.registry_read = 0.0
        """When contracts were last compared with the registry, in Unix seconds; 0 for never."""
        self._clock = clock
        self._publisher = publisher
        self._registrar = registrar
        self._newest = newest

    async def publish_many(self, payloads: Iterable[tuple[str, Payload]], /) -> list[PublishResult]:
        """Publish states; raises StoreError."""
        with self.writes.measured():
            return await self._publisher.publish_many(
                payloads, token=self.token, pushed_at=self._newest.pushed_at
            )

    async def register(self, contracts: Sequence[Contract]) -> Mapping[str, ContractError]:
        """Register contracts, see `Registrar.register`; raises StoreError."""
        with self.writes.measured():
            refused = await self._registrar.register(contracts, self.token)
        self.registry_read = self._clock.time()
        return refused

    async def claim(self, ids: Iterable[str]) -> tuple[list[Contract], Mapping[str, datetime]]:
        """Refuse writes of earlier leaders to every registered contract and to ``ids``.

        Returns:
            The registered contracts, and the timestamps of the stored states by id.

        Raises:
            FencedError: a feed with a newer token leads.
            StoreError: the store cannot be reached.
        """
        with self.writes.measured():
            claimed = await self._registrar.claim(ids, self.token)
        self.registry_read = self._clock.time()
        return claimed
