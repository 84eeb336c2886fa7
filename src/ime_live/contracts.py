"""Contracts: their markets, their static fields, and the record of one in the store."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import Struct, field

from ime_live.errors import ContractError
from ime_live.market import Number
from ime_live.spelling import fold_name
from ime_live.timezones import zone_of_tehran


class Market(StrEnum):
    """Markets of the exchange, by their names in the REST calls.

    The service's documentation has the first three. Funds and parallel salaf are markets of their
    own, whose contracts are never among those of the three.
    """

    FUTURES = "IMEFutures"
    OPTION = "IMEOption"
    DEPOSIT_CERTIFICATE = "IMEDepositCertificate"
    FUND = "IMEFund"
    PARALLEL_SALAF = "IMEParallelSalaf"


MARKETS: Final = frozenset(market.value for market in Market)
"""Names of the markets. Another program, of a newer version, may know others."""

OPTION_TYPES: Final = ("call", "put")

# Options of one underlying repeat its names; folding one takes 20 µs.
_folded = lru_cache(maxsize=16_384)(fold_name)


class Contract(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A contract and its static fields: those that do not change during a trading day.

    A field that its source does not give is ``None``. In JSON the fields have the spelling of the
    REST calls (`docs/redis.md`).

    The feed reads from the exchange's boards: id, name, market, title, contract size, margins,
    settlement prices, last trading day, whether the contract is expired, and for options the type,
    the strike price, and id and name of the underlying. The boards of warehouse receipts, funds and
    parallel salaf have only id, name and title. The feed computes the rule of the price limits, the
    board, and whether the contract is delisted. All other fields come from ``ime-live contracts
    import``.

    Attributes:
        contract_id: its id at the exchange.
        contract_name: its current name, as the exchange spells it.
        market: its market; None if it is not known.
        title: its title in Persian.
        aliases: other names by which it is found, such as those it had before it was renamed.
        owner: its owner, as the source names it.
        min_price_change_rate: lower limit of the daily price change, as a fraction: -0.05 is -5 %.
        max_price_change_rate: upper limit of the daily price change, as a fraction.
        buy_commission: commission of the buyer, as a fraction: 0.0025 is 0.25 %.
        sell_commission: commission of the seller, as a fraction.
        can_buy: whether buy orders are accepted.
        can_sell: whether sell orders are accepted.
        min_valid_buy_volume: smallest quantity of a buy order, in contracts, certificates or
            shares.
        max_valid_buy_volume: largest quantity of a buy order, in contracts, certificates or
            shares.
        min_valid_sell_volume: smallest quantity of a sell order, in contracts, certificates or
            shares.
        max_valid_sell_volume: largest quantity of a sell order, in contracts, certificates or
            shares.
        min_dealable_price: lowest price of a trade, in rials.
        min_dealable_count: smallest quantity of a trade, in contracts, certificates or shares.
        data_class: class of the contract, as the source names it.
        storage_cost: cost of storing the goods of a certificate, in rials.
        initial_margin: initial margin of a future or an option, in rials.
        maintenance_margin: maintenance margin of a future, in rials.
        expiration_date: last trading day; in JSON as ``YYYY-MM-DD`` (Gregorian).
        csize: contract size: number of units of the underlying in one contract.
        exercise_fee_physical: fee for physical delivery, in rials.
        exercise_fee_cash: fee for cash settlement, in rials.
        exercise_sell_tax: tax on a sale by delivery, in rials.
        underlying_id: id or ISIN of the underlying.
        underlying_title: title of the underlying.
        underlying_name: name or symbol of the underlying.
        option_type: ``call`` or ``put``; None if it is not an option.
        strike_price: strike price of an option, in rials.
        required_margin: present required margin of an option, in rials.
        tick_size: smallest change of the price, in rials. No board has it.
        csize_unit: unit of the contract size, in Persian; grams, for example.
        settlement_price: last settlement price, in rials.
        settlement_date: day of the settlement price; None if the contract was never settled, or its
            board has no day.
        today_settlement: settlement price of the day so far, in rials. Only the board of futures
            has it. The feed updates it at most every five minutes.
        price_limit_rule: the part of the feed's option ``--price-limits`` from which the allowed
            prices are computed, such as ``SAF=0.05``; None if no part matches.
        board: method of the exchange's SignalR hub that pushes it.
        expired: whether the exchange has marked it as expired.
        delisted: whether it has disappeared from its board. Its last state is kept.
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
    expiration_date: date | None = field(default=None, name="ExpirationDate")
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
    tick_size: Number | None = None
    csize_unit: str | None = None
    settlement_price: Number | None = None
    settlement_date: date | None = None
    today_settlement: Number | None = None
    price_limit_rule: str | None = None
    board: str | None = None
    expired: bool = False
    delisted: bool = False

    @property
    def listed(self) -> bool:
        """Whether it is neither expired nor delisted, as far as the feed knows."""
        return not (self.expired or self.delisted)

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the contract, the current one first."""
        return (self.contract_name, *self.aliases)

    @property
    def underlyings(self) -> frozenset[str]:
        """Id, name and title of the underlying as `fold_name` returns them, as far as known."""
        names = (self.underlying_id, self.underlying_name, self.underlying_title)
        return frozenset(_folded(name) for name in names if name) - {""}

    @property
    def days_to_expiration(self) -> int | None:
        """Days from today, in Tehran's calendar, to the last trading day; 0 afterwards.

        None if the last trading day is not known.
        """
        # The types of messages do not import the clock, which imports asyncio.
        today = datetime.now(zone_of_tehran()).date()  # noqa: TID251 - see above
        return days_left(self.expiration_date, today)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields and `days_to_expiration` by name, for a row of a ``pandas.DataFrame``.

        >>> Contract(contract_id="1", contract_name="A", market=Market.FUND).to_dict()["market"]
        'IMEFund'
        """
        row = {name: getattr(self, name) for name in self.__struct_fields__ if name != "board"}
        row["market"] = None if self.market is None else self.market.value
        return row | {"days_to_expiration": self.days_to_expiration}

    def to_json(self) -> bytes:
        """Encode for the store; fields that are ``None`` are left out."""
        return _encode(self)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Contract).decode


def read_contract(raw: bytes | str) -> Contract:
    """Decode the record of one contract and check it.

    A market that this version does not know, or a date that is invalid, is read as None: a newer
    version or another program may have written it, and the other fields can be used.

    Raises:
        ContractError: it is not JSON, a field has the wrong type, or the id or name is empty.
    """
    try:
        try:
            contract = _decode(raw)
        except msgspec.ValidationError:
            contract = contract_of(msgspec.json.decode(raw))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ContractError(str(error)) from error
    check_contract(contract)
    return contract


def contract_of(record: object) -> Contract:
    """Convert decoded JSON to a contract, as `read_contract`, without the check of id and name.

    Raises:
        msgspec.ValidationError: a field is missing or has the wrong type.
    """
    if isinstance(record, dict):
        record = dict(record)
        if isinstance(market := record.get("market"), str) and market not in MARKETS:
            record["market"] = None
        for key in ("ExpirationDate", "settlementDate"):
            if isinstance(day := record.get(key), str) and not _is_day(day):
                record[key] = None
    return msgspec.convert(record, Contract)


def _is_day(text: str) -> bool:
    try:
        msgspec.convert(text, date)
    except msgspec.ValidationError:
        return False
    return True


_FIRST_YEAR: Final = 1900


def days_left(expiration_date: date | None, today: date) -> int | None:
    """Return the days until a contract expires; 0 once it has, None if the date is not known.

    It is never negative, because programs that divide by it or take its root would fail. The date
    itself shows how long ago a contract expired.
    """
    # A year such as 1405 is a Jalali one, which was imported without conversion.
    if expiration_date is None or expiration_date.year < _FIRST_YEAR:
        return None
    return max(0, (expiration_date - today).days)


def check_contract(contract: Contract) -> None:
    """Check that id and name of a contract are not empty.

    Raises:
        ContractError: one of them is empty.
    """
    if not contract.contract_id.strip():
        raise ContractError(f"contractId must not be empty, got {contract.contract_id!r}")
    if not fold_name(contract.contract_name):
        raise ContractError(
            f"contractName of contract {contract.contract_id} must not be empty, "
            f"got {contract.contract_name!r}"
        )
