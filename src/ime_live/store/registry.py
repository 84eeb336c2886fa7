"""The registry of contracts in Redis: one record per contract id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Generic, TypeVar

import msgspec
from msgspec import Struct

from ime_live.contracts import Contract, read_contract
from ime_live.errors import ContractError, StoreError, UnknownContractError
from ime_live.registry import ImportResult, Registry
from ime_live.store import scripts
from ime_live.store.commands import Commands

# Attempts to change the registry. If several programs change it, one of them succeeds each time.
_ATTEMPTS: Final = 50

MAX_CHANGES: Final = 10_000
"""Maximum number of contracts that one call may change; Redis does nothing else meanwhile."""

_T = TypeVar("_T")


class _Plan(Struct, Generic[_T]):
    # A change of the registry, and the result to return after it.
    put: list[Contract]
    removed: list[str]
    result: _T


class RegisteredContracts(Commands):
    """The registered contracts; see `Store`."""

    async def contracts(self) -> list[Contract]:
        """Return all contracts that can be read."""
        records = await self.registered()
        return [contract for contract in records.values() if isinstance(contract, Contract)]

    async def contracts_of(self, ids: Iterable[str]) -> dict[str, Contract | None]:
        """Return contracts by id; None for a contract that is absent or cannot be read."""
        ids = list(ids)
        records = await self.registered(ids)
        contracts = {i: records.get(i) for i in ids}
        return {i: each if isinstance(each, Contract) else None for i, each in contracts.items()}

    async def registered(
        self, ids: Sequence[str] | None = None
    ) -> dict[str, Contract | ContractError]:
        """Return contracts by id; an error for a contract that cannot be read.

        Args:
            ids: ids of the contracts; None for all. Absent contracts are left out.
        """
        if ids is None:
            return self._read_contracts(await self._all_records())
        if not ids:
            return {}
        command = ("HMGET", self.keys.contracts, *ids)
        [reply] = await self._pipelined([command], fields=(bytes | None,) * len(ids))
        if isinstance(reply, Exception):
            raise self.connections.error(reply)
        return self._read_contracts({i.encode(): v for i, v in zip(ids, reply, strict=True)})

    async def import_contracts(
        self, contracts: Iterable[Contract], token: int | None = None
    ) -> ImportResult:
        """Add or replace contracts; a contract with a new name keeps the old one as an alias.

        Args:
            contracts: contracts to import.
            token: fencing token of the leading feed; None for all other callers.

        Raises:
            FencedError: a newer token was used before; nothing was changed.
            ContractError: two contracts have the same name or id, an id or name is empty, or more
                than `MAX_CHANGES` contracts would change; nothing was changed.
        """
        batch = list(contracts)

        def plan(records: Mapping[bytes, bytes]) -> _Plan[ImportResult]:
            entries = self._read_contracts(records).values()
            contracts = [each for each in entries if isinstance(each, Contract)]
            registry = Registry(contracts, conflicts=[])
            imported, result = registry.with_import(batch)
            return _Plan([imported.by_id(i) for i in result.added + result.changed], [], result)

        return await self._change(plan, token)

    async def remove_contracts(self, ids: Iterable[str]) -> None:
        """Remove contracts. Their last states are kept, so that versions grow if they come back.

        Raises:
            UnknownContractError: one of the contracts does not exist; nothing was changed.
            ContractError: there are more than `MAX_CHANGES` contracts; nothing was changed.
        """
        removed = list(ids)

        def plan(records: Mapping[bytes, bytes]) -> _Plan[None]:
            for contract_id in removed:
                if contract_id.encode() not in records:
                    raise UnknownContractError(f"unknown contract: {contract_id}")
            return _Plan([], removed, None)

        await self._change(plan)

    async def _change(
        self, plan: Callable[[Mapping[bytes, bytes]], _Plan[_T]], token: int | None = None
    ) -> _T:
        """Change the registry; plan the change again if the records change meanwhile."""
        key, fence = self.keys.contracts, self.keys.contracts_fence
        for _ in range(_ATTEMPTS):
            records = await self._all_records()
            planned = plan(records)
            if (size := len(planned.put) + len(planned.removed)) > MAX_CHANGES:
                raise ContractError(
                    f"contracts must be changed in parts of at most {MAX_CHANGES:,}, got {size:,}"
                )
            ids = [*(c.contract_id for c in planned.put), *planned.removed]
            [reply] = await self._run(
                scripts.CHANGE_CONTRACTS,
                [
                    (
                        *(key, fence),
                        *("" if token is None else token, scripts.digest_of(records)),
                        *(msgspec.json.encode(ids), len(planned.put)),
                        *(text for c in planned.put for text in (c.contract_id, c.to_json())),
                        *planned.removed,
                    )
                ],
            )
            if isinstance(reply, StoreError):
                raise reply
            newer, code = reply
            # A leader first claims the registry, so the commands of a former leader are refused.
            if token is not None and code == scripts.FENCED:
                raise self._fenced(token, newer)
            if code != scripts.CONFLICT:
                return planned.result
        raise StoreError(
            f"contracts in Redis at {self.connections.place} cannot be changed: other programs "
            "change them all the time; try again later"
        )

    async def _all_records(self) -> dict[bytes, bytes]:
        [reply] = await self._pipelined([("HGETALL", self.keys.contracts)])
        if isinstance(reply, Exception):
            raise self.connections.error(reply)
        with self.connections.errors():
            return msgspec.convert(reply, dict[bytes, bytes])

    def _read_contracts(
        self, records: Mapping[bytes, bytes | None]
    ) -> dict[str, Contract | ContractError]:
        contracts = {}
        for field, record in records.items():
            contract_id = field.decode("utf-8", "replace")
            if record is not None:
                contracts[contract_id] = self._read_contract(contract_id, record)
        return contracts

    def _read_contract(self, contract_id: str, record: bytes) -> Contract | ContractError:
        try:
            contract = read_contract(record)
        except ContractError as error:
            fault = error
        else:
            if contract.contract_id == contract_id:
                return contract
            fault = ContractError("its record has another id")
        self._log_unreadable("contract", contract_id, fault, "contract")
        return fault
