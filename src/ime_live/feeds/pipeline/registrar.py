"""Registrar: register the contracts of boards without losing known fields.

A board has some of a contract's static fields; others may have been imported by hand, and are kept.
The settlement price of the day so far changes with each trade. It is registered every few minutes
only, because all gateways read a changed contract again. A contract that cannot be registered does
not affect the others of its board.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

import structlog
from msgspec.structs import asdict, replace

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.contracts import Contract
from ime_live.errors import ContractError, IncompleteError
from ime_live.log_limiter import LogLimiter
from ime_live.registry import ImportResult

log = structlog.get_logger()


SETTLEMENT_INTERVAL: Final = 300.0
"""Seconds after which another settlement of the day so far is registered."""

_FEED_FIELDS: Final = frozenset(
    {"settlement_price", "settlement_date", "today_settlement", "price_limit_rule"}
)
"""Attributes whose stored value is dropped if the board has none, because it would be outdated."""


class ContractRecords(Protocol):
    """Interface of the store for the registrar; every method raises StoreError."""

    async def contracts(self) -> list[Contract]:
        """Return all contracts."""

    async def contracts_of(self, ids: Iterable[str], /) -> Mapping[str, Contract | None]:
        """Return the contracts with these ids; None for a missing one."""

    async def import_contracts(
        self, contracts: Iterable[Contract], token: int | None = None, /
    ) -> ImportResult:
        """Add or replace contracts; raises ContractError and changes nothing."""

    async def claim(self, ids: Iterable[str], token: int, /) -> Mapping[str, datetime]:
        """Refuse older tokens for these contracts and for all contracts' records."""


class Registrar:
    """Registers the contracts of boards."""

    def __init__(self, records: ContractRecords, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Create a registrar that has registered nothing.

        Args:
            records: the contracts in the store.
            clock: the machine's clock.
        """
        self._records = records
        self._clock = clock
        self._settled: dict[str, float] = {}
        """By contract id, when its settlement of the day so far may be registered again."""
        self._limited = LogLimiter(log)

    async def claim(
        self, ids: Iterable[str], token: int
    ) -> tuple[list[Contract], Mapping[str, datetime]]:
        """Refuse writes with an older fencing token to all registered contracts and to ``ids``.

        A contract that cannot be claimed, because its node is unreachable, is claimed with the
        next write to it.

        Returns:
            The registered contracts, and the timestamps of the states that are stored, by id.

        Raises:
            FencedError: a newer token was used before.
            StoreError: nothing can be claimed now.
        """
        contracts = await self._records.contracts()
        every = dict.fromkeys([*(contract.contract_id for contract in contracts), *ids])
        try:
            return contracts, await self._records.claim(every, token)
        except IncompleteError as error:
            event = "not all contracts are claimed"
            self._limited.warning(event, key=event, left=len(error.left), error=str(error))
            return contracts, error.found

    async def register(
        self, contracts: Sequence[Contract], token: int | None = None
    ) -> dict[str, ContractError]:
        """Register contracts that are new or have changed.

        A registered contract whose new fields cannot be registered keeps its present record.

        Args:
            contracts: contracts with the fields of their boards.
            token: the fencing token of the feed that leads; None for a replay.

        Returns:
            The contracts that are not registered, by id, and why.

        Raises:
            FencedError: a newer token was used before.
            StoreError: nothing can be registered now.
        """
        registered = await self._records.contracts_of(
            [contract.contract_id for contract in contracts]
        )
        merged = [_merged(contract, registered.get(contract.contract_id)) for contract in contracts]
        changed = [
            contract
            for contract in merged
            if self._is_due(contract, registered.get(contract.contract_id))
        ]
        try:
            if changed:
                await self._records.import_contracts(changed, token)
                self._note_settlements(changed)
        except ContractError:
            # Again one by one, so that only wrong contracts are left out.
            errors = {
                contract.contract_id: await self._register_one(contract, token)
                for contract in changed
            }
            return {
                contract_id: error
                for contract_id, error in errors.items()
                if error is not None and registered.get(contract_id) is None
            }
        return {}

    def _is_due(self, contract: Contract, registered: Contract | None) -> bool:
        if registered is None or contract == registered:
            return registered is None
        if contract != replace(registered, today_settlement=contract.today_settlement):
            return True
        return self._clock.monotonic() >= self._settled.get(contract.contract_id, float("-inf"))

    def _note_settlements(self, contracts: Iterable[Contract]) -> None:
        at = self._clock.monotonic() + SETTLEMENT_INTERVAL
        self._settled |= {
            contract.contract_id: at
            for contract in contracts
            if contract.today_settlement is not None
        }

    async def _register_one(self, contract: Contract, token: int | None) -> ContractError | None:
        try:
            await self._records.import_contracts([contract], token)
        except ContractError as error:
            self._limited.warning(
                "contract cannot be registered",
                key="contract",
                contract_id=contract.contract_id,
                contract_name=contract.contract_name,
                error=str(error),
            )
            return error
        return None


def _merged(contract: Contract, registered: Contract | None) -> Contract:
    """Return ``contract``, with its missing fields from the registered one."""
    if registered is None:
        return contract
    fields = asdict(contract)
    return replace(
        contract,
        aliases=registered.aliases,
        **{
            name: getattr(registered, name)
            for name, value in fields.items()
            if value is None and name not in _FEED_FIELDS
        },
    )
