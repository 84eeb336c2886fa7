"""Rows: read a row of the exchange's boards as a contract and its state.

One function reads all kinds of rows; the tables of field names hold the differences. A field that
cannot be read is a `ParseError`, which names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from ime_live.contracts import Contract, Market
from ime_live.feeds.boards.field_map import FieldMap
from ime_live.feeds.boards.parsers import (
    ParseError,
    Row,
    flag,
    identity,
    moment,
    number,
    optional_number,
    signed,
    text,
    thousands,
)
from ime_live.market import (
    Aggregate,
    AllowedPriceRange,
    BestLimit,
    ContractInfo,
    Level,
    Number,
    Payload,
)
from ime_live.spelling import fold


class Quote(Struct, frozen=True):
    """One contract and its state, as a row gives them.

    Attributes:
        contract: the contract with the static fields of the board; the others are None.
        payload: its complete state; prices and values are in rials.
        expired: whether the exchange marks it as expired (only futures).
        lost: static fields that could not be read, and why; the contract is used without them.
    """

    contract: Contract
    payload: Payload
    expired: bool = False
    lost: tuple[str, ...] = ()


PriceLimits = Mapping[str, Decimal | tuple[int, int]]
"""Price limits by the start of a contract's folded name: the largest distance from the last
settlement as a fraction, or the lowest and the highest allowed price in rials. The longest start
counts."""

DEFAULT_PRICE_LIMITS: Final[PriceLimits] = MappingProxyType(
    # Silver: in force 2018-2022. Saffron: 3 % in 2018, but the recorded frames of February 2022
    # show it stopped at 5 %: SAFOR01 at 403,900 with 384,685 settled, where 5 % is 403,919 and
    # the next price 404,000.
    {"SIL": Decimal("0.05"), "SAF": Decimal("0.05")}
)

OPEN_RANGE: Final = (1, 9_999_999_999)
"""The documented range in rials of a contract without known price limits."""


def read_row(
    row: Row,
    fields: FieldMap,
    *,
    day: date | None,
    clock: datetime | None,
    price_limits: PriceLimits,
    latest: datetime | None = None,
    names: Mapping[str, str] = MappingProxyType({}),
) -> Quote:
    """Read one contract from a row.

    Args:
        row: the decoded row.
        fields: names of its fields.
        day: day of the frame, for rows with only times.
        clock: clock of the frame, Tehran; None if it has none.
        price_limits: see `PriceLimits`.
        latest: present time, Tehran; a row with only times is not dated later.
        names: names by contract id, for rows without a name.

    Raises:
        ParseError: a field of the state is missing or implausible; the text names it.
    """
    contract_id = identity(row, fields.contract_id)
    lost: list[str] = []
    try:
        name = text(row, fields.name)
    except ParseError as error:
        if contract_id not in names:
            raise
        name = names[contract_id]
        lost.append(str(error))
    high, low = number(row, fields.high_price), number(row, fields.low_price)
    previous_close = number(row, fields.previous_close)
    at = _moment_of(row, fields, day, clock, latest)
    settled = fields.settled_on is None or bool(row.get(fields.settled_on))
    rule = _rule(name, fields, price_limits)
    payload = Payload(
        best_limit=BestLimit(*(_level(row, names) for names in fields.levels)),
        aggregate=Aggregate(
            date=at.date().isoformat(),
            time=at.time().isoformat("seconds"),
            trade_count=number(row, fields.trade_count),
            total_volume=number(row, fields.total_volume),
            total_value=thousands(row, fields.total_value),
            closing_price=_closing_price(row, fields),
            last_price=number(row, fields.last_price),
            low_price=low,
            high_price=high,
            open_price=number(row, fields.open_price),
            previous_close=previous_close,
        ),
        allowed_price_range=AllowedPriceRange(
            *_allowed_range(rule and rule[1], previous_close if settled else 0, low, high)
        ),
        contract_info=ContractInfo(
            open_interest=number(row, fields.open_interest) if fields.open_interest else 0,
            open_interest_changes=(
                signed(row, fields.open_interest_changes) if fields.open_interest_changes else 0
            ),
        ),
    )
    static: dict[str, Any] = {}
    for attribute, field, parse in fields.static:
        if static.get(attribute) is None:
            try:
                static[attribute] = parse(row, field)
            except ParseError as error:
                static[attribute] = None
                lost.append(str(error))
    expired = False
    try:
        expired = flag(row, "Expired")
    except ParseError as error:
        lost.append(str(error))
    contract = Contract(
        contract_id=contract_id,
        contract_name=name,
        market=fields.market,
        option_type=fields.option_type,
        price_limit_rule=None if rule is None else _written(*rule),
        **static,
    )
    return Quote(contract, payload, expired, tuple(lost))


def retimed(
    quote: Quote,
    times: Row,
    fields: FieldMap,
    *,
    day: date | None,
    clock: datetime | None,
    latest: datetime | None,
) -> Quote:
    """Return a known quote with the present times of its row.

    Args:
        quote: quote of a row that has not changed, except for the timestamp of its board.
        times: fields of the row with times, `FieldMap.times`.
        fields: names of its fields.
        day: see `read_row`.
        clock: see `read_row`.
        latest: see `read_row`.

    Raises:
        ParseError: as `read_row`.
    """
    at = _moment_of(times, fields, day, clock, latest)
    date_text, time_text = at.date().isoformat(), at.time().isoformat("seconds")
    aggregate = quote.payload.aggregate
    if (date_text, time_text) == (aggregate.date, aggregate.time):
        return quote
    aggregate = replace(aggregate, date=date_text, time=time_text)
    return replace(quote, payload=replace(quote.payload, aggregate=aggregate))


def pushed_at(
    row: Row, fields: FieldMap, day: date | None, clock: datetime | None
) -> datetime | None:
    """Return the timestamp of the row, Tehran's wall clock.

    None for rows without one, such as those of warehouse receipts. It changes with each push, and
    is not part of the contract's state.

    Raises:
        ParseError: it cannot be read.
    """
    if fields.pushed_at is None:
        return None
    at = moment(row, fields.pushed_at, day)
    return _afternoon(at, clock) if fields.twelve_hours else at


def _level(row: Row, names: tuple[str, str, str, str]) -> Level:
    buy_quantity, buy_price, sell_quantity, sell_price = names
    return Level(
        number(row, buy_quantity),
        number(row, buy_price),
        number(row, sell_quantity),
        number(row, sell_price),
    )


def _closing_price(row: Row, fields: FieldMap) -> Number:
    # All but the last are optional: null in every frame seen, or not in the board at all.
    *optional, last = fields.closing
    for field in optional:
        if price := optional_number(row, field):
            return price
    return number(row, last)


def _rule(
    name: str, fields: FieldMap, price_limits: PriceLimits
) -> tuple[str, Decimal | tuple[int, int]] | None:
    """Return the price limit of a contract, with the prefix of names to which it applies."""
    if not name.isascii():  # receipts' names are Persian, as the SignalR hub spells it
        name = fold(name)
    code = max((code for code in price_limits if name.startswith(code)), key=len, default=None)
    if code is None:
        return None
    limit = price_limits[code]
    # An option follows the price of its underlying, and has no price limits of its own, unless the
    # operator gives it some.
    if fields.market is Market.OPTION and not isinstance(limit, tuple):
        return None
    return code, limit


def _written(code: str, limit: Decimal | tuple[int, int]) -> str:
    """Return a price limit in the notation of `--price-limits`."""
    return f"{code}={limit[0]}..{limit[1]}" if isinstance(limit, tuple) else f"{code}={limit}"


def _allowed_range(
    limit: Decimal | tuple[int, int] | None, settlement: Number, low: Number, high: Number
) -> tuple[Number, Number]:
    """Return the allowed prices in whole rials, rounded inward; see `PriceLimits`, `OPEN_RANGE`."""
    if isinstance(limit, tuple):
        return limit  # given by the operator
    if limit is None or not settlement:
        return OPEN_RANGE
    middle = Decimal(repr(settlement))
    reach = middle * Decimal(str(limit))
    lowest = max(1, int((middle - reach).to_integral_value(ROUND_CEILING)))
    highest = int((middle + reach).to_integral_value(ROUND_FLOOR))
    # Trades of today outside the range prove that other limits apply. An open range is then better
    # than a wrong one, with which programs would hold back good orders.
    traded_beyond = high > highest or 0 < low < lowest
    return OPEN_RANGE if traded_beyond or lowest > highest else (lowest, highest)


AHEAD: Final = timedelta(minutes=10)
"""A time later than the timestamp of its board by more than this was on an earlier day."""

MAX_AHEAD: Final = timedelta(seconds=10)
"""A timestamp further ahead of the exchange's time is ignored, and a time alone counts for the day
before: correct clocks differ by less."""

NIGHT: Final = (time(1), time(7))
"""Certificates have no orders or trades in these hours: the earliest recorded time is 08:35."""

NOON: Final = 12

_DAY: Final = timedelta(days=1)


def _moment_of(
    row: Row, fields: FieldMap, day: date | None, clock: datetime | None, latest: datetime | None
) -> datetime:
    """Return the time of the last order or trade; the start of the day if there is neither."""
    pushed = pushed_at(row, fields, day, clock)
    if pushed is not None:
        day = pushed.date()
    ordered = moment(row, fields.ordered_at, day)
    traded = moment(row, fields.traded_at, day)
    if fields.twelve_hours:
        ordered, traded = (_afternoon(at, clock) for at in (ordered, traded))
    if traded and pushed and traded > pushed + AHEAD:
        # A board pushed after midnight still has yesterday's last trade, by its time alone.
        before = pushed.date() - _DAY
        traded = datetime.combine(min(ordered.date(), before) if ordered else before, traded.time())
    moments = [at for at in (ordered, traded) if at]
    if pushed is None and latest is not None:  # the same, on a board without a timestamp
        moments = [at - _DAY if at > latest + MAX_AHEAD else at for at in moments]
    if moments:
        return max(moments)
    if day is None:
        raise ParseError(fields.traded_at, "is empty, and the frame does not have a day")
    return datetime.combine(day, time())


def _afternoon(at: datetime | None, clock: datetime | None) -> datetime | None:
    """Undo a 12-hour clock without PM: one certificate was seen with 01:26 for 13:26.

    A time in the hours of `NIGHT` counts as afternoon, unless the frame's own clock says that it is
    still the morning of that day.
    """
    if at is None or not NIGHT[0] <= at.time() < NIGHT[1]:
        return at
    morning = clock is not None and clock.date() == at.date() and clock.hour < NOON
    return at if morning else at + timedelta(hours=12)
