"""Price limits and boards: the feed's options that are lists, and their effect on prices."""

from __future__ import annotations

from contextlib import suppress
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ime_live.errors import SettingsError
from ime_live.feeds.boards.field_map import BOARDS
from ime_live.feeds.boards.price_limits import BOARDS_BY_NAME, read_boards, read_price_limits
from ime_live.feeds.boards.rows import DEFAULT_PRICE_LIMITS, OPEN_RANGE
from ime_live.settings import FeedSettings
from tests.support.board_frames import read_frame
from tests.support.boards import row
from tests.support.rows import each_row


def test_default_price_limits_are_those_of_the_rows() -> None:
    assert read_price_limits(FeedSettings().price_limits) == DEFAULT_PRICE_LIMITS
    assert read_boards(FeedSettings().boards) == set(BOARDS)
    assert set(BOARDS_BY_NAME.values()) == set(BOARDS)


def test_price_limits_are_fractions_or_ranges() -> None:
    assert read_price_limits("SIL=0.05,SAF = .1, SAFOR01=380000..410000,") == {
        "SIL": Decimal("0.05"),
        "SAF": Decimal("0.1"),
        "SAFOR01": (380_000, 410_000),
    }
    assert read_price_limits("") == {}
    assert read_price_limits("SAF=۰.۰۵، SIL=۱..٩") == {"SAF": Decimal("0.05"), "SIL": (1, 9)}


def test_names_are_the_same_in_every_spelling() -> None:
    made = row("receipt")
    name = "سکه9912پ۰۳"
    assert made["Symbol"] != name
    frame = {"M": [{"M": "updateGavahiMarketsInfo", "A": [[made]]}]}
    said = read_frame(
        frame, day=date(2022, 2, 6), price_limits=read_price_limits(f"{name}=1000000..1300000")
    )
    prices = said.quotes[0].payload.allowed_price_range
    assert (prices.min_allowed_price, prices.max_allowed_price) == (1_000_000, 1_300_000)


def test_boards_are_separated_by_commas_or_spaces() -> None:
    assert read_boards("Futures, cdc") == read_boards("cdc، futures") == read_boards("cdc futures")


@each_row(
    "text",
    [
        "SIL",
        "=0.05",
        "SIL=5%",
        "SIL=1.5",
        "SIL=0",
        "SIL=0.0",
        "SIL=-0.1",
        "A=5..4",
        "A=0..4",
        "A=1..",
    ],
)
def test_malformed_price_limits_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--price-limits") as caught:
        read_price_limits(f"SAF=0.05, {text}")
    assert text in str(caught.value)


def test_name_given_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match="must have each name once, got SAF twice"):
        read_price_limits("SAF=0.05, SIL=0.05, SAF=0.1")


@given(st.text("SAF=0.5,. ", max_size=20) | st.text(max_size=20))
def test_any_text_is_price_limits_or_refused(text: str) -> None:
    for read in (read_price_limits, read_boards):
        with suppress(SettingsError):
            read(text)


@pytest.mark.parametrize(
    ("text", "named"), [("futures,spot", "spot"), ("", "must name at least one board, got none")]
)
def test_malformed_board_names_are_refused(text: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        read_boards(text)


@each_row(
    ("price_limits", "allowed"),
    [
        ("", OPEN_RANGE),
        ("SAF=0.05", (665_010, 735_011)),  # 700,010.5 settled; rounded inward
        ("SAF=0.05, SAFMO=0.1", (630_010, 770_011)),
        ("SAF=0.05, SAFMO02=690000..705000", (690_000, 705_000)),
        ("KASH=0.05", OPEN_RANGE),
    ],
)
def test_price_limit_of_the_longest_matching_name_is_used(
    price_limits: str, allowed: tuple[int, int]
) -> None:
    made = row("future")
    said = read_frame(
        {"M": [{"M": "updateFutureMarketsInfo", "A": [[made]]}]},
        price_limits=read_price_limits(price_limits),
    )
    prices = said.quotes[0].payload.allowed_price_range
    assert (prices.min_allowed_price, prices.max_allowed_price) == allowed


def test_option_has_a_range_only_if_it_is_named() -> None:
    made = row("strike")
    name = made["_CallContractCode"]
    frame = {"M": [{"M": "updateMarketsInfo", "A": [[made]]}]}
    [call, put] = read_frame(frame, price_limits=read_price_limits(f"{name}=5..9")).quotes
    assert call.payload.allowed_price_range.min_allowed_price == 5
    assert put.payload.allowed_price_range.min_allowed_price == OPEN_RANGE[0]
    [call, _] = read_frame(frame, price_limits=read_price_limits(f"{name}=0.05")).quotes
    assert call.payload.allowed_price_range.min_allowed_price == OPEN_RANGE[0]
