"""Keep a current copy of the registry of contracts in the gateway.

The registry is read when the process starts, when the store announces that a contract has changed,
and at intervals of a few seconds. The gateway keeps its copy of a contract if the store cannot be
reached, or if the record of the contract cannot be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import structlog

from ime_live.contracts import Contract
from ime_live.errors import CloseCode, ContractError, RefusedError, StoreError
from ime_live.gateway.tasks import jittered, wait_for_event
from ime_live.log_limiter import LogLimiter
from ime_live.registry import Registry

log = structlog.get_logger()

_RETRY_DELAY: Final = 0.5  # seconds

_FAILED: Final = "contracts cannot be read"


class ContractStore(Protocol):
    """Reads contracts from the store."""

    async def registered(
        self, ids: Sequence[str] | None = None, /
    ) -> Mapping[str, Contract | ContractError]:
        """Return contracts by id, all without ``ids``; raises StoreError.

        A contract that cannot be read is represented by an error.
        """


class ContractCache:
    """The registry of contracts, kept current by `run`."""

    def __init__(
        self, store: ContractStore, interval: float, on_change: Callable[[], None] = lambda: None
    ) -> None:
        """Make an empty cache.

        Args:
            store: reads the contracts.
            interval: maximum time between two readings of all contracts [s].
            on_change: called when the registry has changed.
        """
        self._on_change = on_change
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
        """The present registry.

        Raises:
            RefusedError: 1013; the registry could not be read yet.
        """
        if self._registry is None:
            raise RefusedError("contracts are not loaded yet", code=CloseCode.TRY_AGAIN_LATER)
        return self._registry

    def on_changed(self, ids: Sequence[str]) -> None:
        """Read some contracts again, because they were added, changed or removed."""
        self._changed.update(ids)
        self._wake.set()

    def on_connected(self) -> None:
        """Read all contracts again, because announcements may have been lost during an outage."""
        self._read_all = True
        self._wake.set()

    async def run(self) -> None:
        """Keep the registry current, until cancelled."""
        self._read_all = True  # an earlier run may have failed while it was reading
        while True:
            succeeded = await self._refresh()
            wait = jittered(self._interval if succeeded else _RETRY_DELAY)
            if not await wait_for_event(self._wake, wait):
                self._read_all = True
            self._wake.clear()

    async def _refresh(self) -> bool:
        changed, self._changed = self._changed, set()
        read_all, self._read_all = self._read_all, False
        try:
            if changed and self._registry is not None:
                # Even if all are read next: only an announcement can remove the last contract.
                await self._take_some(sorted(changed), self._registry)
            if read_all or self._registry is None:
                await self._take_all()
        except StoreError as error:
            self._limited.warning(_FAILED, key=_FAILED, error=str(error), known=len(self))
            self._changed |= changed
            self._read_all = True
            return False
        self._limited.forget(_FAILED)  # so that the next outage is logged at once
        return True

    async def _take_all(self) -> None:
        stored = await self._store.registered()
        if not stored and len(self):
            # The store has probably lost its data. The removal of a contract is announced by its
            # id, so the last contract can still be removed.
            event = "the store has no contracts; keeping the known contracts"
            self._limited.warning(event, key=event, known=len(self))
            return
        known = {contract.contract_id: contract for contract in self._registry or ()}
        contracts = [
            record if isinstance(record, Contract) else known[contract_id]
            for contract_id, record in stored.items()
            if isinstance(record, Contract) or contract_id in known
        ]
        conflicts: list[ContractError] = []
        self._take(Registry(contracts, conflicts=conflicts), conflicts)

    async def _take_some(self, ids: Sequence[str], registry: Registry) -> None:
        stored = await self._store.registered(ids)
        changed = [record for record in stored.values() if isinstance(record, Contract)]
        removed = [contract_id for contract_id in ids if contract_id not in stored]
        conflicts: list[ContractError] = []
        self._take(registry.with_changes(changed, removed, conflicts=conflicts), conflicts)

    def _take(self, registry: Registry, conflicts: Sequence[ContractError]) -> None:
        for conflict in conflicts:
            event = "contract can only be found by its id"
            self._limited.warning(event, key=event, reason=str(conflict))
        if self._registry is None:
            log.info("contracts loaded", contracts=len(registry))
        elif registry.has_same_contracts(self._registry):
            return  # data that was prepared from the present registry stays valid
        self._registry = registry
        self._on_change()
