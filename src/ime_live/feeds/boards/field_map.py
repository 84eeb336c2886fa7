"""Field map: the names of the fields in the exchange's rows, per kind of board.

There is a table for futures, for each side of an option, for continuous certificates and for boards
that TSETMC hosts. `ime_live.feeds.boards.rows` reads rows by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

from ime_live.contracts import Market
from ime_live.feeds.boards.parsers import Row, optional_day, optional_number, optional_text
from ime_live.feeds.boards.underlyings import underlying_code, underlying_name

Static = tuple[tuple[str, str, Callable[[Row, str], Any]], ...]
"""Attribute of `Contract`, the field that gives it, and how to read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldMap:
    """Names of the fields in the rows of a board. ``None``: the board has no such field.

    Attributes:
        levels: for each of the three best levels: buy quantity, buy price, sell quantity, price.
        closing: the closing price is the first of these that is not 0.
        settled_on: day of ``previous_close``; empty for a contract that was never settled.
        pushed_at: timestamp of the board. It changes with every push, and is not part of the state.
        ordered_at, traded_at: time of the last change of orders, and of the last trade.
        twelve_hours: whether its times have been seen on a 12-hour clock without AM and PM.
        static: fields that do not change during a day. If an attribute is named twice, the first
            field with a value counts.
    """

    market: Market
    contract_id: str
    name: str
    levels: tuple[tuple[str, str, str, str], ...]
    trade_count: str
    total_volume: str
    total_value: str
    open_price: str
    high_price: str
    low_price: str
    last_price: str
    closing: tuple[str, ...]
    previous_close: str
    open_interest: str | None
    open_interest_changes: str | None
    settled_on: str | None = None
    pushed_at: str | None
    ordered_at: str
    traded_at: str
    twelve_hours: bool = False
    static: Static
    option_type: str | None = None

    @property
    def times(self) -> tuple[str, ...]:
        """The fields that contain times."""
        return tuple(filter(None, (self.pushed_at, self.ordered_at, self.traded_at)))


def _derivative(
    prefix: str,
    *,
    market: Market,
    static: Static,
    pushed_at: str = "LastUpdate",
    open_interest: str = "OpenInterests",
) -> FieldMap:
    """Return the field map of futures, continuous certificates and, with a prefix, options."""
    return FieldMap(
        market=market,
        contract_id=f"{prefix}ContractID",
        name=f"{prefix}ContractCode",
        # The SignalR hub sends levels 4 and 5 as well, always zero.
        levels=tuple(
            (
                f"{prefix}BidVolume{n}",
                f"{prefix}BidPrice{n}",
                f"{prefix}AskVolume{n}",
                f"{prefix}AskPrice{n}",
            )
            for n in (1, 2, 3)
        ),
        trade_count=f"{prefix}TradesCount",
        total_volume=f"{prefix}TradesVolume",
        total_value=f"{prefix}TradesValue",
        open_price=f"{prefix}FirstTradedPrice",
        high_price=f"{prefix}HighTradedPrice",
        low_price=f"{prefix}LowTradedPrice",
        last_price=f"{prefix}LastTradedPrice",
        closing=(f"{prefix}ClosingPrice", f"{prefix}LastTradedPrice"),
        previous_close=f"{prefix}LastSettlementPrice",
        open_interest=f"{prefix}{open_interest}",
        open_interest_changes=f"{prefix}{open_interest}Changes",
        pushed_at=pushed_at,
        ordered_at=f"{prefix}OrdersDateTime",
        traded_at=f"{prefix}LastTradedPriceTime",
        static=(
            ("title", f"{prefix}ContractDescription", optional_text),
            ("settlement_price", f"{prefix}LastSettlementPrice", optional_number),
            *static,
        ),
    )


def _option(side: str, underscore: str) -> FieldMap:
    prefix = f"{underscore}{side}"
    table = _derivative(
        prefix,
        market=Market.OPTION,
        pushed_at=f"{underscore}LastUpdate",
        static=(
            ("csize", f"{prefix}ContractSize", optional_number),
            ("csize_unit", f"{prefix}ContractSizeUnitFaDesc", optional_text),
            ("settlement_date", f"{prefix}LastSettlementPricePersianDate", optional_day),
            ("initial_margin", f"{prefix}InitialMargin", optional_number),
            ("required_margin", f"{prefix}RequiredMargin", optional_number),
            ("expiration_date", f"{prefix}LastTradingPersianDate", optional_day),
            # Not from the name: its divisor differs by product.
            ("strike_price", f"{underscore}StrikePrice", optional_number),
            ("underlying_id", f"{underscore}CommodityGroup", underlying_code),
            ("underlying_name", f"{underscore}CommodityGroup", underlying_name),
        ),
    )
    return replace(table, option_type=side.lower())


FUTURE: Final = replace(
    _derivative(
        "",
        market=Market.FUTURES,
        static=(
            ("csize", "ContractSize", optional_number),
            ("csize_unit", "ContractSizeUnitFaDesc", optional_text),
            ("settlement_date", "LastSettlementPriceDate", optional_day),
            ("today_settlement", "TodayLiveSettlement", optional_number),
            ("initial_margin", "InitialMargin", optional_number),
            ("maintenance_margin", "MaintenanceMargin", optional_number),
            ("expiration_date", "LastTradingDate", optional_day),
            # The exchange's spelling; the day in words.
            ("expiration_date", "PesrsianLastTradingDate", optional_day),
        ),
    ),
    closing=("ClosingPrice", "TodayLiveSettlement", "LastTradedPrice"),
    settled_on="LastSettlementPriceDate",
)
# The SignalR hub has sent each option field twice, `_CallX` and `CallX`; one of them is enough.
CALL, PUT = _option("Call", "_"), _option("Put", "_")
PLAIN_CALL, PLAIN_PUT = _option("Call", ""), _option("Put", "")
CDC: Final = replace(
    _derivative(
        "",
        market=Market.DEPOSIT_CERTIFICATE,
        open_interest="TotalAsset",
        # `ContractSize` is here a factor between the symbol and its warehouse group, not a size.
        static=(
            ("settlement_date", "LastSettlementPricePersianDate", optional_day),
            ("expiration_date", "LastTradingPersianDate", optional_day),
        ),
    ),
    twelve_hours=True,
)


def _receipt(market: Market) -> FieldMap:
    """Return the field map of rows hosted by TSETMC: receipts, funds and parallel salaf."""
    return FieldMap(
        market=market,
        contract_id="ID",
        name="Symbol",
        levels=tuple(
            (f"DemandVolume{n}", f"DemandPrice{n}", f"OfferVolume{n}", f"OfferPrice{n}")
            for n in (1, 2, 3)
        ),
        trade_count="Quantity",
        total_volume="Volume",
        total_value="Value",
        open_price="FirstPrice",
        high_price="MaxPrice",
        low_price="MinPrice",
        last_price="LastPrice",
        closing=("FinalPrice",),
        previous_close="YesterdayPrice",
        open_interest=None,
        open_interest_changes=None,
        pushed_at=None,
        ordered_at="ModifyTime",
        traded_at="Time",
        twelve_hours=True,
        static=(("title", "Name", optional_text),),
    )


GAVAHI: Final = _receipt(Market.DEPOSIT_CERTIFICATE)
FUND: Final = _receipt(Market.FUND)
PARALLEL_SALAF: Final = _receipt(Market.PARALLEL_SALAF)

BOARDS: Final[Mapping[str, tuple[tuple[FieldMap, ...], ...]]] = MappingProxyType(
    {
        "updateFutureMarketsInfo": ((FUTURE,),),
        "updateMarketsInfo": ((CALL, PLAIN_CALL), (PUT, PLAIN_PUT)),
        "updateCDCMarketsInfo": ((CDC,),),
        "updateGavahiMarketsInfo": ((GAVAHI,),),
        "updateSandoqMarketsInfo": ((FUND,),),
        "updateSalafMarketsInfo": ((PARALLEL_SALAF,),),
    }
)
"""Method of a board → the contracts in one of its rows → the spellings of their fields."""

MARKETS: Final = {method: rows[0][0].market for method, rows in BOARDS.items()}
"""Method of a board → the market of its contracts."""

CLOCK: Final = "updateFutureDateTime"
CDC_BOARD: Final = "updateCDCMarketsInfo"
PUSHED_AT: Final = {
    method: rows[0][0].pushed_at for method, rows in BOARDS.items() if rows[0][0].pushed_at
}
"""Method of a board → the field with the timestamp of its push, where it has one."""

OTHER_METHODS: Final = frozenset({CLOCK, "updateAllMarketData"})
"""Known methods that are not boards: the exchange's clock, and totals of the market."""

METHODS: Final = {method.lower(): method for method in (*BOARDS, *OTHER_METHODS)}
"""Every known method by its name in lower case: SignalR compares names without regard to case."""

ROW_IDS: Final = {
    method: frozenset(fields.contract_id for spellings in rows for fields in spellings)
    for method, rows in BOARDS.items()
}
"""Method of a board → the fields with ids of contracts, of which a row has one."""
