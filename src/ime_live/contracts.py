"""Contracts, and the registry that finds one by its id or by any spelling of its name.

Pure: records of contracts come in, contracts go out. Where they are kept is the store's matter.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct, field

from ime_live.errors import ContractError, UnknownContractError
from ime_live.market import Number


class Market(StrEnum):
    """The exchange's markets, by the names that the REST calls use."""

    FUTURES = "IMEFutures"
    OPTION = "IMEOption"
    DEPOSIT_CERTIFICATE = "IMEDepositCertificate"


class Contract(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A contract and its static fields. A field that the source does not give is ``None``.

    The fields and their spelling are those of the REST calls (`docs/redis.md`). Fractions are
    fractions: 0.0025 is 0.25 %. Prices, margins and fees are in rials.
    """

    contract_id: str
    contract_name: str
    market: Market | None = None
    title: str | None = None
    aliases: tuple[str, ...] = ()
    """Other names it answers to: the ones it had before it was renamed, for instance."""
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
    """The last trading day, ``YYYY-MM-DD`` (Gregorian)."""
    csize: Number | None = None
    """Units of the underlying in one contract."""
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
    """``call`` or ``put``."""
    strike_price: Number | None = None
    required_margin: Number | None = None
    board: str | None = None
    """Where the feed has it from: the method of the hub that pushes its board."""
    expired: bool = False
    """Whether the exchange has marked it as expired."""
    delisted: bool = False
    """Whether it is no longer on its board. Its last state stays."""

    @property
    def listed(self) -> bool:
        """Whether it can be traded, as far as the feed knows."""
        return not (self.expired or self.delisted)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name it answers to, the current one first."""
        return (self.contract_name, *self.aliases)

    def to_json(self) -> bytes:
        """Encode for the store; fields that are ``None`` are left out."""
        return _encode(self)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Contract).decode

# Marks that are not seen: joiners, direction marks, a byte order mark.
_UNSEEN: Final = str.maketrans(
    dict.fromkeys(
        "\u061c\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
        "\u2060\u2066\u2067\u2068\u2069\ufeff"
    )
)

_SAME: Final = str.maketrans(
    {
        # Arabic keyboards type other letters than Persian ones for the same sound.
        "ي": "ی",
        "ى": "ی",
        "ك": "ک",
        **{chr(0x06F0 + n): str(n) for n in range(10)},  # Persian digits
        **{chr(0x0660 + n): str(n) for n in range(10)},  # Arabic-Indic digits
    }
)


def fold(name: str) -> str:
    """The form of ``name`` that is compared: two spellings of one name have the same.

    Unicode NFKC, ``ي/ی`` and ``ك/ک`` and all digits as equals, unseen marks and outer spaces
    dropped. Upper and lower case stay different, as in the exchange's codes.

    >>> fold("سكه۰۳۱۲پ٠١") == fold("سکه0312پ01")
    True
    """
    # Unseen marks first: they keep a letter and its accent from being put together.
    seen = name.translate(_UNSEEN)
    return unicodedata.normalize("NFKC", seen).translate(_SAME).strip()


def read_contract(raw: bytes | str) -> Contract:
    """Decode one contract's record and check it by itself.

    Raises:
        ContractError: not a contract: not JSON, a field of the wrong type, an empty id or name.
    """
    try:
        contract = _decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ContractError(str(error)) from error
    _check(contract)
    return contract


def _check(contract: Contract) -> None:
    if not contract.contract_id.strip():
        raise ContractError("contractId is empty")
    if not fold(contract.contract_name):
        raise ContractError(f"contractName of contract {contract.contract_id} is empty")


class ImportResult(Struct, frozen=True):
    """What an import did: contract ids, each in one of the three, in the order given."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]


class Registry:
    """All contracts that are known, by id and by every name.

    Immutable: a change makes a new one (`with_changes`), so a reader never sees half of it.
    """

    def __init__(
        self, contracts: Iterable[Contract] = (), *, conflicts: list[ContractError] | None = None
    ) -> None:
        """Index ``contracts``.

        Args:
            contracts: what there is.
            conflicts: takes the errors instead of their being raised; the first contract of a
                name or id counts then, and another one of that name is found by its id only.

        Raises:
            ContractError: two contracts with one id, or with one current name, unless only one of
                them is still listed: the name is that one's then.
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
            aliases += [(fold(alias), contract) for alias in contract.aliases]
        # A current name goes before another contract's old one.
        for name, contract in aliases:
            self._by_name.setdefault(name, contract)

    def _add(self, contract: Contract) -> None:
        if contract.contract_id in self._by_id:
            raise ContractError(f"two contracts with the id {contract.contract_id}")
        self._by_id[contract.contract_id] = contract
        name = fold(contract.contract_name)
        other = self._by_name.setdefault(name, contract)
        if other.listed != contract.listed:
            # The exchange may give the name of a contract that is gone to a new one.
            self._by_name[name] = contract if contract.listed else other
        elif other is not contract:
            raise ContractError(
                f"contracts {other.contract_id} and {contract.contract_id} "
                f"have one name: {contract.contract_name}"
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
            # Ids are digits; people type them as they type names.
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
            contract = self._by_name.get(fold(name))
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
        """A new registry with ``changed`` added or replaced and ``removed`` ids left out.

        Raises:
            ContractError: the result would hold two contracts with one name, and there is no
                ``conflicts`` to take the error.
        """
        contracts = dict(self._by_id)
        for contract_id in removed:
            contracts.pop(contract_id, None)
        for contract in changed:
            contracts[contract.contract_id] = contract
        return Registry(contracts.values(), conflicts=conflicts)

    def with_import(self, batch: Iterable[Contract]) -> tuple[Registry, ImportResult]:
        """A new registry with ``batch`` added, and what that changed.

        A contract that is known keeps its aliases, and its old name becomes one of them.

        Raises:
            ContractError: an empty id or name, an id that is given twice, or the result would
                hold two contracts with one name.
        """
        given: dict[str, Contract] = {}
        for contract in batch:
            _check(contract)
            contract_id = contract.contract_id
            if contract_id in given:
                raise ContractError(f"contract {contract_id} is given twice")
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
    # By what is compared, so that another spelling of a name is not kept as one more alias.
    aliases = {fold(name): name for name in (*contract.aliases, *old)}
    aliases.pop(fold(contract.contract_name), None)
    return msgspec.structs.replace(contract, aliases=tuple(aliases.values()))
