"""The list behind the table: order, search, changed prices, rate and lag."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ime_live.terminal.quote_list import COLUMNS, QuoteList, number
from tests.support.rows import each_row
from tests.terminal.states import NOW, message_of

MakePayload = Callable[..., dict[str, Any]]


class Seconds:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_list_sorts_by_column_and_keeps_unknown_values_last(payload: MakePayload) -> None:
    quotes = QuoteList()
    for name, last in (("B", 5), ("A", 7), ("C", 0)):
        quotes.take(message_of(payload(), name, last_price=last, previous_close=5), NOW)
    quotes.read()
    assert [row.name for row in quotes.rows()] == ["A", "B", "C"]
    quotes.sort_key, quotes.reverse = "change", True
    assert [row.name for row in quotes.rows()] == ["A", "B", "C"]
    quotes.reverse = False
    assert [row.name for row in quotes.rows()] == ["B", "A", "C"]


@each_row("column", [each.key for each in COLUMNS])
def test_every_column_sorts_and_shows_text(payload: MakePayload, column: str) -> None:
    quotes = QuoteList()
    quotes.take(message_of(payload(), "A"), NOW)
    quotes.take(message_of(payload(), "B", last_price=0, total_volume=0), NOW)
    quotes.read()
    quotes.sort_key = column
    assert len(quotes.rows()) == 2
    [shown] = [each for each in COLUMNS if each.key == column]
    assert all(shown.text(row) for row in quotes.rows())


@each_row("search", ["سکه۰۳۱۲", "سكه", "SAF", "saf"])
def test_search_finds_any_spelling(payload: MakePayload, search: str) -> None:
    quotes = QuoteList()
    for name in ("سکه0312پ01", "SAFOR01", "X"):
        quotes.take(message_of(payload(), name), NOW)
    quotes.read()
    quotes.search = search
    assert len(quotes.rows()) == 1


def test_last_price_that_moves_stands_out_for_a_while(payload: MakePayload) -> None:
    clock = Seconds()
    quotes = QuoteList(clock)
    for n, last in enumerate((5, 7, 7, 6)):
        clock.now += 10
        quotes.take(message_of(payload(), "A", n, last_price=last), NOW)
        assert quotes.read() == {"A"}
        [row] = quotes.rows()
        assert row.direction == (0, 1, 1, -1)[n]
        assert quotes.stands_out(row) is (n in (1, 3))
    clock.now += 2
    assert not quotes.stands_out(row)


def test_message_before_the_next_reading_replaces_the_one_before(payload: MakePayload) -> None:
    quotes = QuoteList()
    for last in (5, 6, 7):
        quotes.take(message_of(payload(), "A", last_price=last), NOW)
    assert quotes.read() == {"A"}
    assert quotes.read() == set()
    row = quotes.get("A")
    assert row is not None
    assert row.payload.aggregate.last_price == 7


def test_data_that_cannot_be_read_costs_only_its_message(payload: MakePayload) -> None:
    quotes = QuoteList()
    quotes.take(message_of(payload(), "A"), NOW)
    quotes.take(message_of(payload(), "B", last_price="x"), NOW)
    assert quotes.read() == {"A"}
    assert quotes.unreadable == 1


def test_rate_and_lag_are_those_of_the_last_seconds(payload: MakePayload) -> None:
    clock = Seconds()
    quotes = QuoteList(clock)
    assert (quotes.rate, quotes.lag) == (0, None)
    clock.now = 10
    quotes.take(message_of(payload(), "A", -3600), NOW)
    for _ in range(9):
        quotes.take(message_of(payload(), "B", -0.25), NOW)
    assert quotes.rate == pytest.approx(2)
    assert quotes.lag == pytest.approx(0.25)
    clock.now = 20
    assert (quotes.rate, quotes.lag) == (0, None)


@each_row(
    ("value", "text"),
    [
        (0, "–"),
        (5, "5"),
        (1163500.0, "1,163,500"),
        (999393.5, "999,393.5"),
        (10**18, f"{10**18:,}"),
    ],
)
def test_number_is_grouped(value: float, text: str) -> None:
    assert number(value) == text
