"""Single values: what each spelling of the SignalR hub becomes, and what is refused."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ime_live.feeds.boards.parsers import (
    ParseError,
    flag,
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
from tests.support.rows import each_row

DAY = date(2022, 2, 6)
at = datetime.fromisoformat  # Tehran's wall clock, without offset


@each_row(
    ("written", "read"),
    [(83600.0, 83600), (83738.0952, 83738.0952), (7, 7), (0.0, 0), (-0.0, 0), (None, 0), ("", 0)],
)
def test_numbers_are_read(written: object, read: float) -> None:
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
        "seven",
        "1,23",
        "1.234,5",
        "12/5",
        "5 rials",
        "0x10",
        "-7",
        "7" * 70,
        "1e400",
        [],
        {},
        [1, 2],
        {"value": 1, "unit": "lot"},
        [[[[[[[1]]]]]]],
    ],
)
def test_malformed_number_names_its_field(written: object) -> None:
    with pytest.raises(ParseError, match=r"^x: is "):
        number({"x": written}, "x")


@each_row(
    ("written", "read"),
    [
        ("83600", 83600),
        (" 83600.0 ", 83600),
        ("83738.0952", 83738.0952),
        ("1,234", 1234),
        ("1,234,567.5", 1234567.5),
        ("۸۳۶۰۰", 83600),
        ("۸۳٬۶۰۰٫۵", 83600.5),
        ("٨٣٦٠٠", 83600),
        ("8.36e4", 83600),
        ("+7", 7),
        ('"83600"', 83600),
        ('["83,600"]', 83600),
        ([83600], 83600),
        ([[83600.0]], 83600),
        ({"value": "83600"}, 83600),
        ([None], 0),
        ([""], 0),
    ],
)
def test_numbers_in_another_form_are_read(written: object, read: float) -> None:
    value = number({"x": written}, "x")
    assert value == read
    assert type(value) is type(read)


@each_row(
    ("written", "problem"),
    [
        ("many", "is not a number, got 'many'"),
        (True, "is not a number, got true"),
        ([1, 2], "is not a number, got a list of 2"),
        ({"a": 1, "b": 2}, "is not a number, got an object with 'a', 'b'"),
        ({}, "is not a number, got an empty object"),
        (-1, "is negative, got -1"),
        (10**50, "is too large or not a number, got a number of more than 40 digits"),
    ],
)
def test_refusal_quotes_the_value(written: object, problem: str) -> None:
    with pytest.raises(ParseError) as caught:
        number({"x": written}, "x")
    assert str(caught.value) == f"x: {problem}"


def test_missing_field_is_not_0() -> None:
    with pytest.raises(ParseError, match=r"^x: is missing$"):
        number({}, "x")
    assert optional_number({}, "x") is None


@each_row(
    ("written", "read"),
    [
        (-61, -61),
        (-61.0, -61),
        (-0.5, -0.5),
        (8, 8),
        ("-61", -61),
        ("−۶۱", -61),
        (["-1,061"], -1061),
    ],
)
def test_changes_may_be_negative(written: float, read: float) -> None:
    assert signed({"x": written}, "x") == read


@each_row("written", [float("-inf"), float("nan"), -(10**16), "--1", "1-", False])
def test_malformed_change_is_refused(written: object) -> None:
    with pytest.raises(ParseError):
        signed({"x": written}, "x")


@each_row(
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
def test_rials_are_rounded_to_the_nearest(value: float) -> None:
    assert float(thousands({"x": value}, "x")) == float(Decimal(repr(value)) * 1000)


@each_row(
    ("written", "read"),
    [
        (193, "193"),
        ("6183017539978894", "6183017539978894"),
        (57675016001659793, "57675016001659793"),  # above 2**53
        (" 57675016001659793 ", "57675016001659793"),
        (193.0, "193"),
        ("۵۷۶۷۵۰۱۶۰۰۱۶۵۹۷۹۳", "57675016001659793"),
        ("1,000,463", "1000463"),
        (["193"], "193"),
        ({"id": 193}, "193"),
        ('"193"', "193"),
    ],
)
def test_ids_are_texts(written: object, read: str) -> None:
    assert identity({"x": written}, "x") == read


@each_row(
    "written", [57675016001659793.0, True, 0, -1, "", "12a", "1.5", 1.5, None, [], 10**20, [1, 2]]
)
def test_malformed_id_is_refused(written: object) -> None:
    with pytest.raises(ParseError, match=r"^x: is not an id, got "):
        identity({"x": written}, "x")


def test_texts_are_kept_as_the_hub_spells_them() -> None:
    assert text({"x": "سكه0012پ01"}, "x") == "سكه0012پ01"
    assert optional_text({"x": " \t"}, "x") is None


@each_row("written", [["SAFMO02"], {"name": "SAFMO02"}, '"SAFMO02"', '["SAFMO02"]'])
def test_texts_in_another_form_are_read(written: object) -> None:
    assert text({"x": written}, "x") == "SAFMO02"


@each_row(("written", "read"), [(7, "7"), ("{}", "{}"), ('"a" or b', '"a" or b')])
def test_text_that_looks_like_a_number_stays_a_text(written: object, read: str) -> None:
    assert text({"x": written}, "x") == read


@each_row("written", [True, "true", "True", 1, "1", [True]])
def test_true_flags_are_read(written: object) -> None:
    assert flag({"x": written}, "x") is True


@each_row("written", [False, "false", 0, "0", None, ""])
def test_false_flags_are_read(written: object) -> None:
    assert flag({"x": written}, "x") is False
    assert flag({}, "x") is False


@each_row("written", [2, "yes", [], {}, 1.5])
def test_malformed_flag_is_refused(written: object) -> None:
    with pytest.raises(ParseError, match=r"^x: is neither true nor false, got "):
        flag({"x": written}, "x")


@each_row("written", [None, "", "  ", "\u200c", 7.5, True, ["a", "b"], "a" * 501, "\ud800"])
def test_malformed_text_is_refused(written: object) -> None:
    with pytest.raises(ParseError, match=r"^x: "):
        text({"x": written}, "x")


@each_row(
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
        ("۱۳:۲۵:۵۱", at("2022-02-06T13:25:51")),
        ("۲۰۲۲-۰۲-۰۶T۱۳:۲۶:۰۵", at("2022-02-06T13:26:05")),
        (["13:25:51"], at("2022-02-06T13:25:51")),
        ('"2022-02-07T13:39:15"', at("2022-02-07T13:39:15")),
        ("/Date(1644228555000)/", at("2022-02-07T13:39:15")),
        ("/Date(1644228555000+0330)/", at("2022-02-07T13:39:15")),
        ([None], None),
    ],
)
def test_timestamps_are_read(written: object, read: datetime | None) -> None:
    assert moment({"x": written}, "x", DAY) == read


@each_row(
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
def test_malformed_timestamp_is_refused(written: object) -> None:
    with pytest.raises(ParseError, match=r"^x: is "):
        moment({"x": written}, "x", DAY)


def test_time_of_day_needs_a_date() -> None:
    with pytest.raises(ParseError, match="x: is a time, and the frame does not have its day"):
        moment({"x": "13:25:51"}, "x", None)


@each_row(
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
def test_dates_are_read(written: object, day: str | None) -> None:
    read = optional_day({"x": written}, "x")
    assert (None if read is None else read.isoformat()) == day


@each_row("written", ["1400/12/30", "1401/13/01", "soon", "2022-02-30", 14010227])
def test_malformed_date_is_refused(written: object) -> None:
    with pytest.raises(ParseError, match=r"^x: is not a"):
        optional_day({"x": written}, "x")


def test_clock_of_the_exchange_is_read() -> None:
    clock = "یکشنبه ۱۷ بهمن ۱۴۰۰  -  ۱۳:۲۶:۰۵"
    assert read_clock(clock) == at("2022-02-06T13:26:05")
    thursday = "پنج شنبه ۱۴ بهمن ۱۴۰۰  -  ۲۰:۰۰:۰۰"
    assert read_clock(thursday) == at("2022-02-03T20:00:00")


@each_row("written", ["", "۱۷ بهمن ۱۴۰۰", "۱۳:۲۶:۰۵", "۳۱ بهمن ۱۴۰۰ - ۱۳:۲۶:۰۵"])
def test_malformed_clock_is_refused(written: str) -> None:
    assert read_clock(written) is None


@given(st.text())
def test_any_text_is_a_date_and_a_clock_or_refused(written: str) -> None:
    assert read_day(written) is None or isinstance(read_day(written), date)
    assert read_clock(written) is None or isinstance(read_clock(written), datetime)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@given(ANYTHING)
def test_any_cell_is_read_or_refused_by_name(written: Any) -> None:  # noqa: ANN401
    row = {"x": written}
    for read in (number, signed, thousands, optional_number, identity, text, optional_day, flag):
        try:
            read(row, "x")
        except ParseError as error:
            assert str(error).startswith("x: ")  # noqa: PT017
