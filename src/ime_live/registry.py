"""Registry: find a contract by its id, by any spelling of its name, or by its underlying."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property

import msgspec
from msgspec import Struct

from ime_live.contracts import Contract, check_contract
from ime_live.errors import ContractError, UnknownContractError
from ime_live.spelling import fold, fold_name


class ImportResult(Struct, frozen=True):
    """Result of an import: each contract id is in one of three lists, in the order of the import.

    Attributes:
        added: ids that were not registered before.
        changed: ids whose contract differs from the registered one.
        unchanged: ids whose contract was registered with equal fields.
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]


class Registry:
    """All known contracts, by id and by every name.

    It is immutable: `with_changes` returns a new one, so a reader never sees half of a change.
    """

    def __init__(
        self, contracts: Iterable[Contract] = (), *, conflicts: list[ContractError] | None = None
    ) -> None:
        """Index ``contracts``.

        Args:
            contracts: the contracts.
            conflicts: a list that collects the errors in place of raising them. The first contract
                of an id or name is kept; another one of that name is found by its id only.

        Raises:
            ContractError: two contracts have one id, or one current name while both or neither
                are listed. If only one of them is listed, it has the name.
        """
        self._by_id: dict[str, Contract] = {}
        self._by_name: dict[str, Contract] = {}
        aliases: list[tuple[str, Contract]] = []
        for contract in contracts:
            try:
                self._add(contract)
            except ContractError as error:
                if conflicts is None:
                    raise
                conflicts.append(error)
            aliases += [(fold_name(alias), contract) for alias in contract.aliases]
        # A current name goes before another contract's old one.
        for name, contract in aliases:
            self._by_name.setdefault(name, contract)

    def _add(self, contract: Contract) -> None:
        if contract.contract_id in self._by_id:
            raise ContractError(f"ids must be unique, got {contract.contract_id} twice")
        self._by_id[contract.contract_id] = contract
        name = fold_name(contract.contract_name)
        other = self._by_name.setdefault(name, contract)
        if other.listed != contract.listed:
            # The exchange may reuse the name of a delisted contract.
            self._by_name[name] = contract if contract.listed else other
        elif other is not contract:
            raise ContractError(
                f"contracts {other.contract_id} and {contract.contract_id} "
                f"must have different names, got {contract.contract_name} twice"
            )

    def has_same_contracts(self, other: Registry) -> bool:
        """Return whether another registry has the same contracts with the same fields."""
        return self._by_id == other._by_id

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Contract]:
        return iter(self._by_id.values())

    def __contains__(self, contract_id: object) -> bool:
        return contract_id in self._by_id

    def by_id(self, contract_id: str) -> Contract:
        """Find a contract by its id.

        Raises:
            UnknownContractError: no contract has this id.
        """
        contract = self._by_id.get(contract_id)
        if contract is None:
            # People may type the digits of an id in Persian.
            contract = self._by_id.get(fold(contract_id))
        if contract is None:
            raise UnknownContractError(f"unknown contract: {contract_id}")
        return contract

    def by_name(self, name: str) -> Contract:
        """Find a contract by its name, an alias, or another spelling of one.

        Raises:
            UnknownContractError: no contract has this name.
        """
        contract = self._by_name.get(name)
        if contract is None:
            contract = self._by_name.get(fold_name(name))
        if contract is None:
            raise UnknownContractError(f"unknown contract: {name}")
        return contract

    def of_underlying(self, text: str) -> Sequence[Contract]:
        """Find the contracts of an underlying, in the order of their names.

        Args:
            text: id, name or title of the underlying, in any spelling.
        """
        return self._by_underlying.get(fold_name(text), ())

    @cached_property
    def _by_underlying(self) -> Mapping[str, Sequence[Contract]]:
        # Made on first use: few registries are asked, and folding a thousand titles takes 10 ms.
        index = defaultdict(list)
        for contract in sorted(
            self, key=lambda contract: (contract.contract_name, contract.contract_id)
        ):
            for underlying in contract.underlyings:
                index[underlying].append(contract)
        return index

    def with_changes(
        self,
        changed: Iterable[Contract] = (),
        removed: Iterable[str] = (),
        *,
        conflicts: list[ContractError] | None = None,
    ) -> Registry:
        """Return a new registry with ``changed`` added or replaced, without the ids ``removed``.

        Raises:
            ContractError: two contracts would have one name, and ``conflicts`` is None.
        """
        contracts = dict(self._by_id)
        for contract_id in removed:
            contracts.pop(contract_id, None)
        for contract in changed:
            contracts[contract.contract_id] = contract
        return Registry(contracts.values(), conflicts=conflicts)

    def with_import(self, batch: Iterable[Contract]) -> tuple[Registry, ImportResult]:
        """Return a new registry with ``batch`` added, and the list of changes.

        A known contract keeps its aliases. If its name changes, the old one becomes an alias.

        Raises:
            ContractError: an id or name is empty, an id is given twice, or two contracts would
                have one name.
        """
        imported: dict[str, Contract] = {}
        for contract in batch:
            check_contract(contract)
            contract_id = contract.contract_id
            if contract_id in imported:
                raise ContractError(f"ids must be unique, got contract {contract_id} twice")
            imported[contract_id] = _with_old_names(contract, self._by_id.get(contract_id))
        registry = self.with_changes(imported.values())
        same = {i for i, contract in imported.items() if contract == self._by_id.get(i)}
        return registry, ImportResult(
            added=tuple(i for i in imported if i not in self._by_id),
            changed=tuple(i for i in imported if i in self._by_id and i not in same),
            unchanged=tuple(i for i in imported if i in same),
        )


def _with_old_names(contract: Contract, registered: Contract | None) -> Contract:
    old = () if registered is None else (*registered.aliases, registered.contract_name)
    # By the normalized name, so that another spelling is not kept as one more alias.
    aliases = {fold_name(name): name for name in (*contract.aliases, *old)}
    aliases.pop(fold_name(contract.contract_name), None)
    return msgspec.structs.replace(contract, aliases=tuple(aliases.values()))
