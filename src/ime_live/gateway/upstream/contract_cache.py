"""ContractCache: the gateway's own, always current copy of the registry of contracts.

It is read when the process starts, again whenever the store says that a contract has changed,
and at worst every few seconds. A fault of the store never makes the gateway forget what it knows,
and neither does a record that cannot be read.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import structlog

from ime_live.contracts import Contract, Registry
from ime_live.errors import CloseCode, ContractError, RefusedError, StoreError
from ime_live.log_limiter import LogLimiter

log = structlog.get_logger()

_RETRY_DELAY: Final = 0.5  # seconds

_FAILED: Final = "contracts cannot be read"


class ContractStore(Protocol):
    """Where contracts are kept, as the directory needs it."""

    async def registered(
        self, ids: Sequence[str] | None = None, /
    ) -> Mapping[str, Contract | ContractError]:
        """Those with these ids, or all; an error for one that cannot be read; raises StoreError."""


class ContractCache:
    """See the module's text."""

    def __init__(self, store: ContractStore, interval: float) -> None:
        """Make an empty directory.

        Args:
            store: where contracts are kept.
            interval: seconds between two readings of all of them.
        """
        self._store = store
        self._interval = interval
        self._registry: Registry | None = None
        self._changed: set[str] = set()
        self._read_all = True
        self._limited = LogLimiter(log)
        self._wake = asyncio.Event()

    @property
    def loaded(self) -> bool:
        """Whether the registry was read at least once."""
        return self._registry is not None

    def __len__(self) -> int:
        return len(self._registry or ())

    @property
    def registry(self) -> Registry:
        """The registry as it is now.

        Raises:
            RefusedError: 1013; it could not be read yet.
        """
        if self._registry is None:
            raise RefusedError("contracts are not loaded yet", code=CloseCode.TRY_AGAIN_LATER)
        return self._registry

    def on_changed(self, ids: Sequence[str]) -> None:
        """The store says that these contracts were added, changed or removed."""
        self._changed.update(ids)
        self._wake.set()

    def on_connected(self) -> None:
        """The store is reached (again): what it said meanwhile was not heard."""
        self._read_all = True
        self._wake.set()

    async def run(self) -> None:
        """Keep it current, until cancelled."""
        self._read_all = True  # it may have failed in the middle of reading, and begin again
        while True:
            good = await self._refresh()
            # A little early, and never in step with other gateways.
            wait = self._interval * random.uniform(0.8, 1.0) if good else _RETRY_DELAY  # noqa: S311
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                self._read_all = True
            self._wake.clear()

    async def _refresh(self) -> bool:
        changed, self._changed = self._changed, set()
        read_all, self._read_all = self._read_all, False
        try:
            if changed and self._registry is not None:
                # Also when all are read: only what was announced can empty the registry.
                await self._take_some(sorted(changed), self._registry)
            if read_all or self._registry is None:
                await self._take_all()
        except StoreError as error:
            self._limited.warning(_FAILED, key=_FAILED, error=str(error), known=len(self))
            self._changed |= changed
            self._read_all = True
            return False
        self._limited.forget(_FAILED)  # so that the next outage is told at once
        return True

    async def _take_all(self) -> None:
        found = await self._store.registered()
        if not found and len(self):
            # What a store says that has just lost its data. A contract that was really removed
            # was announced by its id, so the last one can still be removed.
            event = "the store has no contracts; keeping those that are known"
            self._limited.warning(event, key=event, known=len(self))
            return
        known = {contract.contract_id: contract for contract in self._registry or ()}
        contracts = [
            each if isinstance(each, Contract) else known[contract_id]
            for contract_id, each in found.items()
            if isinstance(each, Contract) or contract_id in known
        ]
        conflicts: list[ContractError] = []
        self._take(Registry(contracts, conflicts=conflicts), conflicts)

    async def _take_some(self, ids: Sequence[str], registry: Registry) -> None:
        found = await self._store.registered(ids)
        changed = [each for each in found.values() if isinstance(each, Contract)]
        removed = [contract_id for contract_id in ids if contract_id not in found]
        conflicts: list[ContractError] = []
        self._take(registry.with_changes(changed, removed, conflicts=conflicts), conflicts)

    def _take(self, registry: Registry, conflicts: Sequence[ContractError]) -> None:
        for conflict in conflicts:
            event = "contract is found by its id only"
            self._limited.warning(event, key=event, reason=str(conflict))
        if self._registry is None:
            log.info("contracts loaded", contracts=len(registry))
        self._registry = registry
