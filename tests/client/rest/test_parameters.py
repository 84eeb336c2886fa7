"""Query parameters of the REST calls: what the arguments become, and which are refused."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from ime_live.client.protocol.message import Selector
from ime_live.client.rest.parameters import (
    candle_contracts,
    candle_pairs,
    chain_pairs,
    divide_into_calls,
    market_of,
)
from ime_live.errors import SettingsError
from ime_live.messages import ContractFilter
from tests.support.rows import each_row


@each_row(
    ("start", "end", "contracts"),
    [
        (None, None, 100),
        (None, "2026-11-02", 100),
        ("2026-11-01", "2026-11-02", 50),
        (date(2026, 11, 1), datetime(2026, 11, 1, 12), 100),  # noqa: DTZ001 - Tehran's clock
        ("2026-11-01T12:00:00+00:00", "2026-11-01T23:00:00Z", 33),
        ("2026-01-01", "2026-12-31", 1),  # too many days for any call
        ("soon", "2026-11-02", 100),
        ("2026-11-02", "2026-11-01", 100),
    ],
)
def test_call_for_candles_names_as_many_contracts_as_its_days_allow(
    start: date | str | None, end: date | str | None, contracts: int
) -> None:
    assert candle_contracts(start, end) == contracts


def test_candles_are_requested_from_a_date_or_a_time() -> None:
    noon = datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert list(candle_pairs("5m", date(2026, 11, 1), noon)) == [
        ("interval", "5m"),
        ("from", "2026-11-01"),
        ("to", "2026-11-01T12:00:00+00:00"),
    ]
    assert list(candle_pairs("1d", None, None)) == [("interval", "1d")]


@each_row(
    ("arguments", "text"),
    [
        (("2m", None, None), "interval must be one of 1m, 5m, 15m, 1h, 1d, got '2m'"),
        (("1m", 5, None), "start must be a date, a time or a text in ISO 8601, got 5"),
        (("1m", None, 1.5), "end must be a date, a time or a text in ISO 8601, got 1.5"),
    ],
)
def test_bad_arguments_of_candles_are_refused(arguments: tuple[Any, ...], text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        candle_pairs(*arguments)
    assert str(refused.value) == text


@each_row(
    ("arguments", "text"),
    [
        (("", None), "underlying must not be empty"),
        ((5, None), "underlying must be a text"),
        (("GC", "tomorrow"), "expiration must be a date, or a text as YYYY-MM-DD"),
        (("GC", datetime(2026, 8, 1, tzinfo=UTC)), "expiration must be a date"),
        (("GC", 5), "expiration must be a date"),
    ],
)
def test_bad_arguments_of_a_chain_are_refused(arguments: tuple[Any, ...], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        chain_pairs(*arguments)


def test_unknown_market_is_refused() -> None:
    assert market_of("IMEOption") == "IMEOption"
    with pytest.raises(SettingsError, match=r"market must be one of IMEFutures, .*, got 'Stocks'"):
        market_of("Stocks")


def test_long_selection_is_divided_into_calls_by_the_length_of_their_urls() -> None:
    names: list[Selector] = [("name", f"سكه0312پ{n:04}") for n in range(400)]
    calls = list(divide_into_calls(names))
    assert len(calls) > 1
    assert [("name", word) for _, words, _ in calls for word in words] == names
    for by, words, pairs in calls:
        assert by == "name"
        assert list(pairs) == [("contract_names", word) for word in words]


def test_selection_is_divided_by_name_id_and_filter() -> None:
    options = ContractFilter.of("id", markets=["IMEOption"])
    chosen: list[Selector] = [("name", "A"), ("id", "7"), options, ("name", "B")]
    more = [("details", "true")]
    calls = [(by, words, list(pairs)) for by, words, pairs in divide_into_calls(chosen, more, 1)]
    assert calls == [
        ("name", ["A"], [("contract_names", "A"), *more]),
        ("name", ["B"], [("contract_names", "B"), *more]),
        ("id", ["7"], [("contract_ids", "7"), *more]),
        ("id", [], [("market", "IMEOption"), *more]),
    ]
    with pytest.raises(SettingsError):
        list(divide_into_calls([]))
