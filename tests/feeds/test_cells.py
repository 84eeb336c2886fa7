"""Single values: what each spelling of the hub becomes, and what is refused."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ime_live.feeds.cells import (
    CellError,
    identity,
    moment,
    number,
    optional_day,
    optional_number,
    optional_text,
    read_clock,
    read_day,
    signed,
    text,
    thousands,
)

DAY = date(2022, 2, 6)
at = datetime.fromisoformat  # Tehran's wall clock, without offset


@pytest.mark.parametrize(
    ("written", "read"),
    [(83600.0, 83600), (83738.0952, 83738.0952), (7, 7), (0.0, 0), (-0.0, 0), (None, 0), ("", 0)],
)
def test_numbers(written: object, read: float) -> None:
    value = number({"x": written}, "x")
    assert value == read
    assert type(value) is type(read)


@pytest.mark.parametrize(
    "written",
    [
        -1,
        -0.5,
        10**16,
        1e300,
        pytest.param(10**5000, id="too long to be written"),
        pytest.param(-(10**5000), id="too long to be written, negative"),
        float("nan"),
        float("inf"),
        True,
        "7",
        [],
        {},
    ],
)
def test_what_is_no_number_names_its_field(written: object) -> None:
    with pytest.raises(CellError, match=r"^x: is "):
        number({"x": written}, "x")


def test_a_field_that_is_not_there_is_not_0() -> None:
    with pytest.raises(CellError, match=r"^x: is missing$"):
        number({}, "x")
    assert optional_number({}, "x") is None


@pytest.mark.parametrize(("written", "read"), [(-61, -61), (-61.0, -61), (-0.5, -0.5), (8, 8)])
def test_changes_may_be_negative(written: float, read: float) -> None:
    assert signed({"x": written}, "x") == read


@pytest.mark.parametrize("written", [float("-inf"), float("nan"), -(10**16), "-1", False])
def test_what_is_no_change(written: object) -> None:
    with pytest.raises(CellError):
        signed({"x": written}, "x")


@pytest.mark.parametrize(
    ("written", "rials"),
    [
        (110501114.2, 110501114200),  # 110501114200.00002 as floats would have it: no
        (26294299.851, 26294299851),
        (18231244.66, 18231244660),
        (0.0, 0),
        (None, 0),
        (5861300.0, 5861300000),
        (1.0005, 1000.5),
    ],
)
def test_thousands_of_rials_are_exact(written: float | None, rials: float) -> None:
    value = thousands({"x": written}, "x")
    assert value == rials
    assert type(value) is type(rials)


@given(st.integers(0, 10**12), st.integers(0, 999))
def test_every_value_with_three_decimals_is_a_whole_number_of_rials(whole: int, part: int) -> None:
    assert thousands({"x": float(f"{whole}.{part:03}")}, "x") == whole * 1000 + part


@given(st.floats(0, 10**15))
def test_rials_are_the_nearest_to_what_was_written(value: float) -> None:
    assert float(thousands({"x": value}, "x")) == float(Decimal(repr(value)) * 1000)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (193, "193"),
        ("6183017539978894", "6183017539978894"),
        (57675016001659793, "57675016001659793"),  # above 2**53
        (" 57675016001659793 ", "57675016001659793"),
    ],
)
def test_ids_are_texts(written: object, read: str) -> None:
    assert identity({"x": written}, "x") == read


@pytest.mark.parametrize(
    "written", [57675016001659793.0, 193.0, True, 0, -1, "", "12a", "۱۲", None, [], 10**20]
)
def test_what_is_no_id(written: object) -> None:
    with pytest.raises(CellError, match=r"^x: is not an id$"):
        identity({"x": written}, "x")


def test_texts_are_kept_as_the_hub_spells_them() -> None:
    assert text({"x": "سكه0012پ01"}, "x") == "سكه0012پ01"
    assert optional_text({"x": " \t"}, "x") is None


@pytest.mark.parametrize("written", [None, "", "  ", "\u200c", 7, "a" * 501, "\ud800"])
def test_what_is_no_text(written: object) -> None:
    with pytest.raises(CellError, match=r"^x: "):
        text({"x": written}, "x")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2022-02-06T13:26:05.51", at("2022-02-06T13:26:05.510000")),
        ("2022-02-07T14:15:37.257", at("2022-02-07T14:15:37.257000")),
        ("2022-02-07T13:39:15", at("2022-02-07T13:39:15")),
        ("2022-02-07T13:39:15.1234567", at("2022-02-07T13:39:15.123456")),
        ("13:25:51", at("2022-02-06T13:25:51")),
        ("9:05", at("2022-02-06T09:05:00")),
        ("13:25:51.82", at("2022-02-06T13:25:51")),
        ("", None),
        (None, None),
        ("0", None),
        (0, None),
        ("0001-01-01T00:00:00", None),
    ],
)
def test_moments(written: object, read: datetime | None) -> None:
    assert moment({"x": written}, "x", DAY) == read


@pytest.mark.parametrize(
    "written",
    [
        "25:00:00",
        "13:61:00",
        "soon",
        "2022-13-01T00:00:00",
        "9999-12-31T23:59:59",
        "2022-02-06T13:26:05Z",
        "2022-02-06T13:26:05+03:30",
        "\ud800",
        7,
        False,
        1.5,
        [],
    ],
)
def test_what_is_no_moment(written: object) -> None:
    with pytest.raises(CellError, match=r"^x: is "):
        moment({"x": written}, "x", DAY)


def test_a_time_needs_a_day() -> None:
    with pytest.raises(CellError, match="x: is a time, and nothing in the frame gives its day"):
        moment({"x": "13:25:51"}, "x", None)


@pytest.mark.parametrize(
    ("written", "day"),
    [
        ("1401/02/27", "2022-05-17"),
        ("1401/02/25", "2022-05-15"),
        ("1399/12/30", "2021-03-20"),  # a leap year's last day
        ("1403/12/30", "2025-03-20"),  # the next leap year, four later
        ("1404/01/01", "2025-03-21"),
        ("۱۴۰۱/۰۲/۲۷", "2022-05-17"),
        ("2022-02-09T00:00:00", "2022-02-09"),
        ("2022-02-09", "2022-02-09"),
        ("چهارشنبه ۲۰ بهمن ۱۴۰۰", "2022-02-09"),
        ("سه شنبه ۱۷ اسفند ۱۴۰۰", "2022-03-08"),
        ("دوشنبه ۲۲ فروردین ۱۴۰۱", "2022-04-11"),
        ("چهارشنبه ۲۵ خرداد ۱۴۰۱", "2022-06-15"),
        ("يكشنبه ۱۸ ارديبهشت ۱۴۰۱", "2022-05-08"),  # Arabic letters
        ("0001-01-01T00:00:00", None),
        ("", None),
        (None, None),
    ],
)
def test_days(written: object, day: str | None) -> None:
    assert optional_day({"x": written}, "x") == day


@pytest.mark.parametrize("written", ["1400/12/30", "1401/13/01", "soon", "2022-02-30", 14010227])
def test_what_is_no_day(written: object) -> None:
    with pytest.raises(CellError, match=r"^x: is not a"):
        optional_day({"x": written}, "x")


def test_the_exchanges_clock() -> None:
    clock = "یکشنبه ۱۷ بهمن ۱۴۰۰  -  ۱۳:۲۶:۰۵"
    assert read_clock(clock) == at("2022-02-06T13:26:05")
    thursday = "پنج شنبه ۱۴ بهمن ۱۴۰۰  -  ۲۰:۰۰:۰۰"
    assert read_clock(thursday) == at("2022-02-03T20:00:00")


@pytest.mark.parametrize("written", ["", "۱۷ بهمن ۱۴۰۰", "۱۳:۲۶:۰۵", "۳۱ بهمن ۱۴۰۰ - ۱۳:۲۶:۰۵"])
def test_what_is_no_clock(written: str) -> None:
    assert read_clock(written) is None


@given(st.text())
def test_any_text_is_a_day_and_a_clock_or_not(written: str) -> None:
    assert read_day(written) is None or isinstance(read_day(written), date)
    assert read_clock(written) is None or isinstance(read_clock(written), datetime)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@given(ANYTHING)
def test_a_cell_is_read_or_refused_by_name(written: Any) -> None:  # noqa: ANN401
    row = {"x": written}
    for read in (number, signed, thousands, optional_number, identity, text, optional_day):
        try:
            read(row, "x")
        except CellError as error:
            assert str(error).startswith("x: ")  # noqa: PT017
