"""Candles: which bars are in them, which candles are in a span, and what is refused."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from ime_live.candles import Candle, Interval
from ime_live.errors import RefusedError
from ime_live.gateway.query.parameters import Endpoint
from ime_live.gateway.query.query_string import Query
from ime_live.gateway.rest.candles import Span, candles_of, check_amount, read_span
from ime_live.store.bar import Bar
from ime_live.timezones import TEHRAN, zone_of
from tests.support.rows import each_row

DAY = date(2026, 11, 28)
ZONE = zone_of(TEHRAN)
WHOLE = Span(datetime(2026, 11, 28), datetime(2026, 11, 29))  # noqa: DTZ001 - Tehran's clock
BARS = [
    Bar(705, 100, 105, 95, 99, 5, 500, 2, 7, 98, 100),
    Bar(709, 98, 98.5, 90, 98, 9, 900, 3, 8, 97, 99, True),
    Bar(710, 97, 97, 97, 97, 12, 1200, 4, 9, 96, 98),
]


def spanned(query: str) -> Span:
    read = Query(Endpoint.CANDLES_BY_NAME, query)
    return read_span(read["from"], read["to"], DAY, ZONE)


def test_candle_of_minutes_has_their_prices_and_differences_of_totals() -> None:
    assert candles_of(BARS, DAY, Interval.FIVE_MINUTES, WHOLE) == [
        Candle("2026-11-28T11:45:00", 100, 105, 90, 98, 9, 900, 3, 8, 97, 99, True),
        Candle("2026-11-28T11:50:00", 97, 97, 97, 97, 3, 300, 1, 9, 96, 98),
    ]


@each_row(
    ("interval", "times"),
    [
        ("1m", ["11:45:00", "11:49:00", "11:50:00"]),
        ("15m", ["11:45:00"]),
        ("1h", ["11:00:00"]),
        ("1d", ["00:00:00"]),
    ],
)
def test_intervals_begin_on_the_clock_of_tehran(interval: str, times: list[str]) -> None:
    found = candles_of(BARS, DAY, Interval(interval), WHOLE)
    assert [each.time for each in found] == [f"2026-11-28T{time}" for time in times]
    assert sum(each.volume for each in found) == 12


def test_totals_that_went_down_are_no_negative_volume() -> None:
    bars = [Bar(705, 1, 1, 1, 1, 9, 9, 9, 0, 0, 0), Bar(706, 1, 1, 1, 1, 8, 8, 8, 0, 0, 0)]
    assert [c.volume for c in candles_of(bars, DAY, Interval.MINUTE, WHOLE)] == [9, 0]


def test_candles_of_a_span_begin_in_it() -> None:
    span = spanned("from=2026-11-28T11:46&to=2026-11-28T11:50")
    assert [c.time[11:] for c in candles_of(BARS, DAY, Interval.MINUTE, span)] == ["11:49:00"]
    assert candles_of(BARS, DAY, Interval.MINUTE, span)[0].volume == 4


@each_row(
    ("query", "days"),
    [
        ("", [DAY]),
        ("from=2026-11-27", [date(2026, 11, 27), DAY]),
        ("to=2026-11-20", [date(2026, 11, 20)]),
        ("to=2026-11-20T00:00:00", [date(2026, 11, 19)]),
        ("from=2026-11-28T12:00:00Z", [DAY]),
        ("from=2026-11-27T22:00:00+00:00&to=2026-11-27T23:00:00Z", [DAY]),
        ("from=2026-11-28T10:00&to=2026-11-28T10:00", []),
    ],
)
def test_span_has_the_days_between_its_ends(query: str, days: list[date]) -> None:
    assert list(spanned(query).days) == days


@each_row(
    ("query", "said"),
    [
        ("from=2026-11-30", "from must not be after to"),
        (
            "from=yesterday",
            "from must be a date or a time in ISO 8601 .Gregorian., got .yesterday",
        ),
        ("from=1405-09-04&to=1405-09-05", "from must be a date or a time in ISO 8601 .Gregorian."),
        ("to=2026-13-01", "to must be a date or a time in ISO 8601 .Gregorian., got .2026-13-01"),
        ("to=9999-12-31", "must be dates before the year 9999"),
        ("to=0001-01-01T00:00:00%2B14:00", "to must be a date or a time"),
    ],
)
def test_span_that_cannot_be_is_refused(query: str, said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        spanned(query)


def test_days_of_contracts_are_limited() -> None:
    check_amount(10, 10)
    with pytest.raises(RefusedError, match="at most 100, got 11 times 10"):
        check_amount(11, 10)
    days = len(spanned("from=1900-01-01").days)
    with pytest.raises(RefusedError, match="got 1 times more than 100"):
        check_amount(1, days)
