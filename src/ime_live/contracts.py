"""Contracts, and the registry that finds one by its id or by any spelling of its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct, field

from ime_live.errors import ContractError, UnknownContractError
from ime_live.market import Number
from ime_live.spelling import fold, fold_name


class Market(StrEnum):
    """Markets of the exchange, by their names in the REST calls."""

    FUTURES = "IMEFutures"
    OPTION = "IMEOption"
    DEPOSIT_CERTIFICATE = "IMEDepositCertificate"


OPTION_TYPES: Final = ("call", "put")


class Contract(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A contract and its static fields: those that do not change during a trading day.

    They come from the exchange's boards (title, margins, size, last trading day, strike price) or
    from ``ime-live contracts import``. A field that the source does not give is ``None``. In JSON
    the fields have the spelling of the REST calls (`docs/redis.md`).

    Attributes:
        contract_id: the exchange's id of it.
        contract_name: its current name, as the exchange spells it.
        market: its market; None if it belongs to none of the three, as funds do.
        title: its title in Persian.
        aliases: other names by which it is found, such as those it had before it was renamed.
        owner: its owner, as the source names it.
        min_price_change_rate: lower limit of the daily price change, as a fraction: -0.05 is -5 %.
        max_price_change_rate: upper limit of the daily price change, as a fraction.
        buy_commission: commission of the buyer, as a fraction: 0.0025 is 0.25 %.
        sell_commission: commission of the seller, as a fraction.
        can_buy: whether buy orders are accepted.
        can_sell: whether sell orders are accepted.
        min_valid_buy_volume: smallest quantity of a buy order.
        max_valid_buy_volume: largest quantity of a buy order.
        min_valid_sell_volume: smallest quantity of a sell order.
        max_valid_sell_volume: largest quantity of a sell order.
        min_dealable_price: lowest price that can be traded at, in rials.
        min_dealable_count: smallest quantity that can be traded.
        data_class: class that the source gives it.
        storage_cost: cost of storage of a certificate's goods, in rials.
        initial_margin: initial margin of a future or an option, in rials.
        maintenance_margin: maintenance margin of a future, in rials.
        expiration_date: last trading day, as ``YYYY-MM-DD`` (Gregorian).
        csize: contract size: units of the underlying in one contract.
        exercise_fee_physical: fee for physical delivery, in rials.
        exercise_fee_cash: fee for cash settlement, in rials.
        exercise_sell_tax: tax on a sale by delivery, in rials.
        underlying_id: id or ISIN of the underlying.
        underlying_title: title of the underlying.
        underlying_name: name or symbol of the underlying.
        option_type: ``call`` or ``put``; None if it is no option.
        strike_price: strike price of an option, in rials.
        required_margin: margin of an option that is required at present, in rials.
        board: method of the exchange's SignalR hub that pushes it; written by the feed.
        expired: whether the exchange has marked it as expired.
        delisted: whether it has left its board. Its last state is kept.
    """

    contract_id: str
    contract_name: str
    market: Market | None = None
    title: str | None = None
    aliases: tuple[str, ...] = ()
    owner: str | None = None
    min_price_change_rate: Number | None = None
    max_price_change_rate: Number | None = None
    buy_commission: Number | None = None
    sell_commission: Number | None = None
    can_buy: bool | None = None
    can_sell: bool | None = None
    min_valid_buy_volume: Number | None = None
    max_valid_buy_volume: Number | None = None
    min_valid_sell_volume: Number | None = None
    max_valid_sell_volume: Number | None = None
    min_dealable_price: Number | None = None
    min_dealable_count: Number | None = None
    data_class: str | None = None
    storage_cost: Number | None = field(default=None, name="StorageCost")
    initial_margin: Number | None = None
    maintenance_margin: Number | None = None
    expiration_date: str | None = field(default=None, name="ExpirationDate")
    csize: Number | None = None
    exercise_fee_physical: Number | None = field(default=None, name="ExerciseFeePhysical")
    exercise_fee_cash: Number | None = field(default=None, name="ExerciseFeeCash")
    exercise_sell_tax: Number | None = field(default=None, name="ExerciseSellTax")
    underlying_id: str | None = field(
        default=None, name="UnderlyingAssets_symbolIsin_or_contractId"
    )
    underlying_title: str | None = field(default=None, name="UnderlyingAssets_title")
    underlying_name: str | None = field(
        default=None, name="UnderlyingAssets_symbolName_or_contractName"
    )
    option_type: str | None = None
    strike_price: Number | None = None
    required_margin: Number | None = None
    board: str | None = None
    expired: bool = False
    delisted: bool = False

    @property
    def listed(self) -> bool:
        """Whether it is neither expired nor delisted, as far as the feed knows."""
        return not (self.expired or self.delisted)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name by which it is found, the current one first."""
        return (self.contract_name, *self.aliases)

    def to_json(self) -> bytes:
        """Encode for the store; fields that are ``None`` are left out."""
        return _encode(self)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Contract).decode


def read_contract(raw: bytes | str) -> Contract:
    """Decode the record of one contract and check it.

    Raises:
        ContractError: it is not JSON, a field has the wrong type, or the id or name is empty.
    """
    try:
        contract = _decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ContractError(str(error)) from error
    _check(contract)
    return contract


def _check(contract: Contract) -> None:
    if not contract.contract_id.strip():
        raise ContractError(f"contractId must not be empty, got {contract.contract_id!r}")
    if not fold_name(contract.contract_name):
        raise ContractError(
            f"contractName of contract {contract.contract_id} must not be empty, "
            f"got {contract.contract_name!r}"
        )


class ImportResult(Struct, frozen=True):
    """Result of an import: each contract id is in one of the three, in the order given."""

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
            # The exchange may reuse the name of a contract that is gone.
            self._by_name[name] = contract if contract.listed else other
        elif other is not contract:
            raise ContractError(
                f"contracts {other.contract_id} and {contract.contract_id} "
                f"must have different names, got {contract.contract_name} twice"
            )

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Contract]:
        return iter(self._by_id.values())

    def __contains__(self, contract_id: object) -> bool:
        return contract_id in self._by_id

    def by_id(self, contract_id: str) -> Contract:
        """Find a contract by its id.

        Raises:
            UnknownContractError: there is none.
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
            UnknownContractError: there is none.
        """
        contract = self._by_name.get(name)
        if contract is None:
            contract = self._by_name.get(fold_name(name))
        if contract is None:
            raise UnknownContractError(f"unknown contract: {name}")
        return contract

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
        given: dict[str, Contract] = {}
        for contract in batch:
            _check(contract)
            contract_id = contract.contract_id
            if contract_id in given:
                raise ContractError(f"ids must be unique, got contract {contract_id} twice")
            given[contract_id] = _with_old_names(contract, self._by_id.get(contract_id))
        registry = self.with_changes(given.values())
        same = {i for i, contract in given.items() if contract == self._by_id.get(i)}
        return registry, ImportResult(
            added=tuple(i for i in given if i not in self._by_id),
            changed=tuple(i for i in given if i in self._by_id and i not in same),
            unchanged=tuple(i for i in given if i in same),
        )


def _with_old_names(contract: Contract, known: Contract | None) -> Contract:
    old = () if known is None else (*known.aliases, known.contract_name)
    # By the normalized name, so that another spelling is not kept as one more alias.
    aliases = {fold_name(name): name for name in (*contract.aliases, *old)}
    aliases.pop(fold_name(contract.contract_name), None)
    return msgspec.structs.replace(contract, aliases=tuple(aliases.values()))
