"""Underlyings: names for the codes of the board, and codes without a name."""

from __future__ import annotations

import pytest

from ime_live.errors import FeedError
from ime_live.feeds.boards.underlyings import UNDERLYINGS, underlying_code, underlying_name
from tests.support.rows import each_row


@each_row(
    ("given", "code", "name"),
    [
        ("GC", "GC", "سکه طلا"),
        (" LG ETC\t", "LG ETC", "طلا"),
        ("ETCDY03", "ETCDY03", None),  # an option on a future: the name of that contract
        ("NEW", "NEW", None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_code_of_the_board_is_the_id_and_gives_the_name(
    given: str | None, code: str | None, name: str | None
) -> None:
    row = {"_CommodityGroup": given}
    assert underlying_code(row, "_CommodityGroup") == code
    assert underlying_name(row, "_CommodityGroup") == name


def test_row_without_a_code_has_no_underlying() -> None:
    assert underlying_code({}, "_CommodityGroup") is underlying_name({}, "_CommodityGroup") is None


def test_code_that_is_no_text_is_an_error() -> None:
    with pytest.raises(FeedError, match="_CommodityGroup: is not a text"):
        underlying_name({"_CommodityGroup": [1, 2]}, "_CommodityGroup")


def test_table_has_no_empty_code_or_name() -> None:
    assert all(code.strip() and name.strip() for code, name in UNDERLYINGS.items())
