"""Contracts, and the registry that finds one by its id or by any spelling of its name.

Pure: records of contracts come in, contracts go out. Where they are kept is the store's matter.
"""

from __future__ import annotations

import re
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


OPTION_TYPES: Final = ("call", "put")


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
    """One of `OPTION_TYPES`."""
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

# Marks that are not seen: joiners, marks of direction, variation selectors, a byte order mark.
_UNSEEN: Final = dict.fromkeys(
    (
        *(0x00AD, 0x034F, 0x061C, 0x180E, 0xFEFF),
        *range(0x200B, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2060, 0x2070),
        *range(0xFE00, 0xFE10),
    )
)

_MADDAH: Final = 0x0653

# What is no part of a name at its ends: unseen marks, and what Unicode has for blanks.
_OUTER: Final = "".join(map(chr, _UNSEEN)) + "".join(
    filter(str.isspace, map(chr, (*range(0x21), 0x85, 0xA0, *range(0x1680, 0x3001))))
)

# What is written over, under and between Persian letters, and is not part of a name: tatweel,
# vowels, hamza. The maddah is: alef with it is a letter of its own.
_ORNAMENTS: Final = dict.fromkeys(
    (
        *(0x0640, 0x0670),
        *range(0x0610, 0x061B),
        *(mark for mark in range(0x064B, 0x0660) if mark != _MADDAH),
        *(mark for mark in range(0x06D6, 0x06EE) if mark not in {0x06DD, 0x06DE, 0x06E9}),
        *range(0x08D3, 0x0900),
    )
)

_SAME: Final[dict[int, str | None]] = {
    # Keyboards of other languages type other letters than Persian ones for the same sound.
    **dict.fromkeys(map(ord, "يى"), "ی"),
    **dict.fromkeys(map(ord, "كڪ"), "ک"),
    **dict.fromkeys(map(ord, "ہھە"), "ه"),
    **{0x06F0 + n: str(n) for n in range(10)},  # Persian digits
    **{0x0660 + n: str(n) for n in range(10)},  # Arabic-Indic digits
    _MADDAH: None,  # over any other letter than alef
}

# Where one of two parts of a word is Persian, a blank between them may stand for a joiner.
_JOINT: Final = re.compile(r"(?<=\w)\s+(?=[\u0620-\u08ff])|(?<=[\u0620-\u08ff])\s+(?=\w)")


def fold(text: str) -> str:
    """The form of ``text`` that is compared: two spellings of one text have the same.

    Unicode NFKC, ``ي/ی``, ``ك/ک`` and all digits as equals; unseen marks, tatweel, diacritics and
    outer blanks dropped. Upper and lower case stay different, as in the exchange's codes.

    >>> fold("سكه۰۳۱۲پ٠١") == fold("سِکّـه0312پ01")
    True
    """
    if text.isascii():
        return text.strip()
    # Unseen marks first: they keep a letter and its accent from being put together. And letters
    # are put together only when what is dropped is gone.
    seen = unicodedata.normalize("NFKD", text.translate(_UNSEEN)).translate(_ORNAMENTS)
    return unicodedata.normalize("NFC", seen).translate(_SAME).strip()


def trim(name: str) -> str:
    """``name`` without the blanks and unseen marks at its ends."""
    return name.strip(_OUTER)


def fold_name(name: str) -> str:
    """As `fold`, and blanks inside of Persian words are dropped.

    What is written with a joiner is often typed with a blank, or with nothing.

    >>> fold_name("نیم‌سکه") == fold_name("نیم سکه") == fold_name("نیمسکه")
    True
    """
    return _JOINT.sub("", fold(name))


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
    if not fold_name(contract.contract_name):
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
            aliases += [(fold_name(alias), contract) for alias in contract.aliases]
        # A current name goes before another contract's old one.
        for name, contract in aliases:
            self._by_name.setdefault(name, contract)

    def _add(self, contract: Contract) -> None:
        if contract.contract_id in self._by_id:
            raise ContractError(f"two contracts with the id {contract.contract_id}")
        self._by_id[contract.contract_id] = contract
        name = fold_name(contract.contract_name)
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
    aliases = {fold_name(name): name for name in (*contract.aliases, *old)}
    aliases.pop(fold_name(contract.contract_name), None)
    return msgspec.structs.replace(contract, aliases=tuple(aliases.values()))
