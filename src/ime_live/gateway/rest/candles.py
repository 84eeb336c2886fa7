"""Combine stored bars into candles of a requested interval and span. No I/O, no HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta, tzinfo

import msgspec
from msgspec import Struct

from ime_live.candles import MAX_DAYS, Candle, Interval
from ime_live.contracts import Contract
from ime_live.errors import RefusedError
from ime_live.gateway.rest.bodies import Data
from ime_live.market import Number
from ime_live.store.bar import Bar

_encode = msgspec.json.Encoder().encode


class Span(Struct, frozen=True):
    """A span of time in Tehran's local time.

    Attributes:
        begin: the beginning, which is in the span.
        end: the end, which is not in the span.
    """

    begin: datetime
    end: datetime

    @property
    def days(self) -> Sequence[date]:
        """The days of the span, but at most one more than `MAX_DAYS`; empty for an empty span."""
        if self.end <= self.begin:
            return ()
        first = self.begin.date()
        count = ((self.end - timedelta(microseconds=1)).date() - first).days + 1
        return [first + timedelta(days=n) for n in range(min(count, MAX_DAYS + 1))]


def read_span(begin: date | None, end: date | None, today: date, zone: tzinfo) -> Span:
    """Return the span between two dates or times of a request.

    Args:
        begin: a date or a time; None for the day of ``end``, or today without that.
        end: a date, whose whole day is in the span, or a time; None for the end of today.
        today: the date in Tehran.
        zone: Tehran's time zone.

    Raises:
        RefusedError: 1008; the end is before the beginning, or a date is out of range.
    """
    try:
        if isinstance(end, datetime):
            last = _local(end, zone)
        else:
            last = datetime.combine(end or today, time()) + timedelta(days=1)
        if isinstance(begin, datetime):
            first = _local(begin, zone)
        else:
            first = datetime.combine(begin or (last - timedelta(microseconds=1)).date(), time())
    except OverflowError:
        raise RefusedError(
            "from and to must be dates before the year 9999, got a later one", kind="bad from"
        ) from None
    if last < first:
        raise RefusedError(
            f"from must not be after to, got {first.isoformat()} and {last.isoformat()}",
            kind="bad from",
        )
    return Span(first, last)


def _local(moment: datetime, zone: tzinfo) -> datetime:
    return moment if moment.tzinfo is None else moment.astimezone(zone).replace(tzinfo=None)


def check_amount(contracts: int, days: int) -> None:
    """Check that the number of contracts times the number of days is at most `MAX_DAYS`.

    Raises:
        RefusedError: 1008; the product is larger.
    """
    if contracts * days > MAX_DAYS:
        shown = str(days) if days <= MAX_DAYS else f"more than {MAX_DAYS}"
        raise RefusedError(
            f"contracts times days must be at most {MAX_DAYS}, got {contracts} times {shown}; "
            "ask for fewer contracts or days in a call",
            kind="too many days",
        )


def candles_of(bars: Iterable[Bar], day: date, interval: Interval, span: Span) -> list[Candle]:
    """Return the candles of a trading day that begin in a span.

    Args:
        bars: the bars of the day, in order.
        day: the trading day.
        interval: length of the candles.
        span: span in which the candles begin.
    """
    midnight = datetime.combine(day, time())
    groups: dict[int, list[Bar]] = {}
    for bar in bars:
        groups.setdefault(bar.minute - bar.minute % interval.minutes, []).append(bar)
    candles = []
    previous: Bar | None = None
    for minute, group in groups.items():
        begin = midnight + timedelta(minutes=minute)
        if span.begin <= begin < span.end:
            candles.append(_candle(begin, group, previous))
        previous = group[-1]
    return candles


def _candle(begin: datetime, group: Sequence[Bar], previous: Bar | None) -> Candle:
    last = group[-1]
    # The totals of the day decrease if the exchange corrects them.
    volume, value, trades = last.volume, last.value, last.trades
    if previous is not None:
        volume = max(0.0, volume - previous.volume)
        value = max(0.0, value - previous.value)
        trades = max(0.0, trades - previous.trades)
    return Candle(
        begin.isoformat(),
        _number(group[0].open),
        _number(max(bar.high for bar in group)),
        _number(min(bar.low for bar in group)),
        _number(last.close),
        _number(volume),
        _number(value),
        _number(trades),
        _number(last.open_interest),
        _number(last.bid),
        _number(last.ask),
        any(bar.gap for bar in group),
    )


def _number(value: float) -> Number:
    return int(value) if float(value).is_integer() else value


def candle_data(
    contracts: Mapping[str, Contract | None], candles: Mapping[str, Sequence[Candle]]
) -> Data:
    """Return the candles of contracts as the content of a response.

    Args:
        contracts: names or ids as requested, with their contracts; None for an unknown contract.
        candles: candles by contract id.
    """
    by_name = {
        name: None if contract is None else candles[contract.contract_id]
        for name, contract in contracts.items()
    }
    return Data(_encode(by_name), is_complete=None not in by_name.values())
