"""Trade state: read the totals, prices and minute of a state, for bars. No I/O."""

from __future__ import annotations

from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct, field

from ime_live.errors import PayloadError
from ime_live.market import EPOCH, MICROSECONDS
from ime_live.market_json import MAX_AHEAD, check_size, payload_error

_AHEAD: Final = 1
"""Minutes by which the exchange's clock may be ahead of the store's."""


class TradeState(Struct, gc=False):
    """The part of a state that bars are computed from; units as in `ime_live.market`.

    Attributes:
        version: microseconds since the Unix epoch.
        day: trading day.
        minute: minutes since midnight on Tehran's clock.
        price: last price.
        open: price of the day's first trade.
        high: highest price of the day.
        low: lowest price of the day.
        volume: quantity traded today.
        value: value of today's trades.
        trades: number of today's trades.
        open_interest: open interest.
        bid: best buy price.
        ask: best sell price.
    """

    version: int
    day: date
    minute: int
    price: float
    open: float
    high: float
    low: float
    volume: float
    value: float
    trades: float
    open_interest: float = 0
    bid: float = 0
    ask: float = 0


class _Statistics(Struct, gc=False):
    date: str
    time: str
    trade_count: float
    total_volume: float
    total_value: float
    last_price: float
    low_price: float
    high_price: float
    open_price: float


class _Prices(Struct, gc=False):
    buy_price: float
    sell_price: float


class _Limits(Struct, gc=False):
    best: _Prices = field(name="1")


class _Interest(Struct, gc=False):
    open_interest: float


class _Parts(Struct, gc=False):
    best_limit: _Limits = field(name="BestLimit")
    aggregate: _Statistics = field(name="Aggregate")
    contract_info: _Interest = field(name="ContractInfo")


class _Published(Struct, gc=False):
    data: _Parts
    version: int | None = None


_decode_published = msgspec.json.Decoder(_Published).decode
_decode_parts = msgspec.json.Decoder(_Parts).decode

_BESIDE_DATA: Final = 256


def read_message(raw: bytes, now: int, zone: tzinfo) -> TradeState:
    """Read a message of a contract's channel.

    Args:
        raw: the message, JSON.
        now: microseconds since the epoch; the version of a message without one.
        zone: time zone of the exchange.

    Raises:
        PayloadError: it is not a message of a state, or its version is out of range.
    """
    check_size(len(raw) - _BESIDE_DATA)
    try:
        message = _decode_published(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise payload_error(error) from error
    version = now if message.version is None else message.version
    if not 0 < version <= now + MAX_AHEAD:
        raise PayloadError(
            f"version {version} is not microseconds since the epoch up to now",
            kind="not a version",
        )
    return _state(version, message.data, zone)


def read_last(version: int, data: bytes, zone: tzinfo) -> TradeState:
    """Read a last state; raises PayloadError as `read_message`."""
    check_size(len(data))
    try:
        return _state(version, _decode_parts(data), zone)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise payload_error(error) from error


def _state(version: int, parts: _Parts, zone: tzinfo) -> TradeState:
    statistics = parts.aggregate
    day, minute = _time_of(version // MICROSECONDS // 60, zone)
    if (stated_day := _day_of(statistics.date)) is not None and stated_day <= day:
        clock = _minute_of(statistics.time)
        # A clock that is far ahead would keep all later trades in its minute.
        if clock is not None and (stated_day < day or clock <= minute + _AHEAD):
            minute = clock
        day = stated_day
    prices = parts.best_limit.best
    return TradeState(
        version,
        day,
        minute,
        statistics.last_price,
        statistics.open_price,
        statistics.high_price,
        statistics.low_price,
        statistics.total_volume,
        statistics.total_value,
        statistics.trade_count,
        parts.contract_info.open_interest,
        prices.buy_price,
        prices.sell_price,
    )


@lru_cache(maxsize=256)
def _time_of(minute: int, zone: tzinfo) -> tuple[date, int]:
    moment = (EPOCH + timedelta(minutes=minute)).astimezone(zone)
    return moment.date(), moment.hour * 60 + moment.minute


@lru_cache(maxsize=256)
def _day_of(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _minute_of(text: str) -> int | None:
    try:
        moment = datetime.strptime(text, "%H:%M:%S")  # noqa: DTZ007 - a time of day
    except ValueError:
        return None
    return moment.hour * 60 + moment.minute
