"""Registry: the contracts in Redis, one record per id."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Struct
from redis.exceptions import WatchError

from ime_live.contracts import Contract, ImportResult, Registry, read_contract
from ime_live.errors import ContractError, StoreError, UnknownContractError
from ime_live.market import MAX_AHEAD
from ime_live.store.commands import Commands
from ime_live.store.records import version_in

# Attempts of an import while others change the registry; in each round at least one succeeds.
_ATTEMPTS: Final = 50

_T = TypeVar("_T")


class _Plan(Struct, Generic[_T]):
    # A change of the registry, and the result to return once it is made.
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
        """Return the contracts with these ids; None for one that is absent or cannot be read."""
        ids = list(ids)
        records = await self.registered(ids)
        found = {i: records.get(i) for i in ids}
        return {i: each if isinstance(each, Contract) else None for i, each in found.items()}

    async def registered(
        self, ids: Sequence[str] | None = None
    ) -> dict[str, Contract | ContractError]:
        """Return contracts by id, with an error in place of one that cannot be read.

        Args:
            ids: ids of the contracts; None for all. Absent ones are left out of the result.
        """
        with self.connections.errors():
            if ids is None:
                records = await self._redis.hgetall(self.keys.contracts)
            elif ids:
                values = await self._redis.hmget(self.keys.contracts, ids)
                records = {i.encode(): v for i, v in zip(ids, values, strict=True)}
            else:
                records = {}
            return self._read_contracts(records)

    async def import_contracts(
        self, contracts: Iterable[Contract], token: int | None = None
    ) -> ImportResult:
        """Add or replace contracts; a contract with a new name keeps the old one as an alias.

        Args:
            contracts: contracts to import.
            token: fencing token of the leading feed; None for all other callers.

        Raises:
            FencedError: a newer token was used before; nothing was changed.
            ContractError: two contracts have one name or one id, or an id or name is empty; nothing
                was changed.
        """
        batch = list(contracts)

        def plan(records: Mapping[bytes, bytes]) -> _Plan[ImportResult]:
            read = self._read_contracts(records).values()
            contracts = [each for each in read if isinstance(each, Contract)]
            registry = Registry(contracts, conflicts=[])
            imported, result = registry.with_import(batch)
            return _Plan([imported.by_id(i) for i in result.added + result.changed], [], result)

        return await self._change(plan, token)

    async def remove_contracts(self, ids: Iterable[str]) -> None:
        """Remove contracts. Their last states stay, so that versions grow if they come back.

        Raises:
            UnknownContractError: one of them does not exist; nothing was changed.
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
        """Change the registry by a plan from its records; plan again if they change meanwhile."""
        key = self.keys.contracts
        for _ in range(_ATTEMPTS):
            with self.connections.errors():
                async with self.connections.transaction(key) as pipe:
                    if token is not None:
                        await self._check_fence(pipe, token)
                    planned = plan(await pipe.hgetall(key))
                    try:
                        await self._write(pipe, planned.put, planned.removed)
                    except WatchError:
                        continue
                    return planned.result
        raise StoreError(
            f"contracts in Redis at {self.connections.place} change faster than one can write"
        )

    async def _check_fence(self, pipe: Any, token: int) -> None:  # noqa: ANN401 - as in _write
        # A leader claims the registry first, so an older leader finds its token.
        fence = self.keys.contracts_fence
        await pipe.watch(fence)
        # As in the scripts: a value that cannot be a token is ignored.
        latest = time.time_ns() // 1000 + MAX_AHEAD
        held = version_in(await pipe.hget(fence, "token"), latest) or 0
        if held > token:
            raise self._fenced(token, held)

    async def _write(
        self,
        pipe: Any,  # noqa: ANN401 - a pipeline of redis-py, which types it loosely
        put: Sequence[Contract],
        removed: Sequence[str] = (),
    ) -> None:
        """Write and publish the changes in one transaction."""
        key = self.keys.contracts
        pipe.multi()
        if put:
            pipe.hset(key, mapping={c.contract_id: c.to_json() for c in put})
        if removed:
            pipe.hdel(key, *removed)
        if put or removed:
            ids = [*(c.contract_id for c in put), *removed]
            pipe.publish(key, msgspec.json.encode(ids))
        await pipe.execute()

    def _read_contracts(
        self, records: Mapping[bytes, bytes | None]
    ) -> dict[str, Contract | ContractError]:
        found = {}
        for raw_id, record in records.items():
            contract_id = raw_id.decode("utf-8", "replace")
            if record is not None:
                found[contract_id] = self._read_contract(contract_id, record)
        return found

    def _read_contract(self, contract_id: str, record: bytes) -> Contract | ContractError:
        try:
            contract = read_contract(record)
        except ContractError as error:
            problem = error
        else:
            if contract.contract_id == contract_id:
                return contract
            problem = ContractError("its record has another id")
        self._leave_out("contract", contract_id, problem, "contract")
        return problem
