"""Registrar: the contracts that boards tell of in, registered without harm to what is known.

A board gives some of a contract's static fields; the others may have been imported by hand and
stay. One contract that cannot be registered does not keep the rest of its board out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

import structlog
from msgspec.structs import asdict, replace

from ime_live.contracts import Contract, ImportResult
from ime_live.errors import ContractError

log = structlog.get_logger()


class ContractRecords(Protocol):
    """Where contracts are kept, as the registrar needs it; all of it raises StoreError."""

    async def contracts(self) -> list[Contract]:
        """All of them."""

    async def contracts_of(self, ids: Iterable[str], /) -> Mapping[str, Contract | None]:
        """Those with these ids, None for one that is not there."""

    async def import_contracts(self, contracts: Iterable[Contract], /) -> ImportResult:
        """Add or replace contracts; raises ContractError and changes nothing."""


class Registrar:
    """See the module's text."""

    def __init__(self, records: ContractRecords) -> None:
        self._records = records

    async def on_boards(self, boards: Collection[str]) -> list[Contract]:
        """The contracts that were registered from these boards before.

        Raises:
            StoreError: they cannot be read.
        """
        return [each for each in await self._records.contracts() if each.board in boards]

    async def register(self, contracts: Sequence[Contract]) -> list[ContractError]:
        """Register contracts that are new or have changed; those that cannot be are returned.

        Raises:
            StoreError: nothing can be registered now.
        """
        found = await self._records.contracts_of([each.contract_id for each in contracts])
        merged = [_merged(each, found.get(each.contract_id)) for each in contracts]
        try:
            await self._records.import_contracts(merged)
        except ContractError:
            # Once more one by one: only that which is wrong stays out.
            return [e for each in merged if (e := await self._register_one(each)) is not None]
        return []

    async def _register_one(self, contract: Contract) -> ContractError | None:
        try:
            await self._records.import_contracts([contract])
        except ContractError as error:
            log.warning(
                "contract cannot be registered",
                contract_id=contract.contract_id,
                contract_name=contract.contract_name,
                error=str(error),
            )
            return error
        return None


def _merged(contract: Contract, known: Contract | None) -> Contract:
    """``contract``, with what it does not say as it is known."""
    if known is None:
        return contract
    said = asdict(contract)
    return replace(
        contract, **{name: getattr(known, name) for name, value in said.items() if value is None}
    )
