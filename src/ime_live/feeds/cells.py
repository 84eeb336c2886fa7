"""Single values of the exchange's rows: numbers, ids, texts, moments and days.

A row and the name of a field come in, a checked value goes out, or a `CellError` that names the
field. Nothing here knows which board a row is from, or what its value will be used for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final

from persiantools.jdatetime import JalaliDate

from ime_live.contracts import fold
from ime_live.errors import FeedError
from ime_live.market import Number

Row = Mapping[str, Any]
"""A row of a board as it was decoded from JSON; nothing is known of its values."""

LARGEST: Final = 10**15
"""No price, quantity or value (in thousand rials) comes near this; a larger one is a mistake."""

MAX_ID_DIGITS: Final = 20
MAX_TEXT: Final = 500
YEARS: Final = range(2000, 2100)
"""The years that a stamp can be of: the hub began after 2000."""

_MISSING: Final = object()


class CellError(FeedError):
    """A field of a row that cannot be read. Its text is the field's name and what is wrong."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")


def number(row: Row, field: str) -> Number:
    """A number that cannot be negative; 0 where the hub sends ``null`` or an empty text.

    A whole number is an ``int``, however it was written: 83600.0 is 83600, 83738.0952 stays.

    Raises:
        CellError: missing, not a number, negative, or too large to be one.
    """
    value = row.get(field, _MISSING)
    # By exact type: True is not a quantity. NaN fails the comparison like everything absurd.
    if type(value) is float and 0 <= value <= LARGEST:
        return int(value) if value.is_integer() else value
    if type(value) is int and 0 <= value <= LARGEST:
        return value
    if _is_empty(value):
        return 0
    raise CellError(field, _problem_of_number(value))


def signed(row: Row, field: str) -> Number:
    """A number that may be negative, otherwise as `number`."""
    value = row.get(field, _MISSING)
    if type(value) in (int, float) and -LARGEST <= value < 0:
        return int(value) if value == int(value) else value
    return number(row, field)


def thousands(row: Row, field: str) -> Number:
    """A value that the hub gives in thousand rials (``هزار ریال``), in rials and exactly.

    >>> thousands({"Value": 110501114.2}, "Value")
    110501114200
    """
    value = number(row, field)
    if isinstance(value, int):
        return value * 1000
    # The shortest text of a float is what the hub wrote; times 1000 as floats would add noise.
    rials = Decimal(repr(value)) * 1000
    return int(rials) if rials == rials.to_integral_value() else float(rials)


def optional_number(row: Row, field: str) -> Number | None:
    """As `number`, but ``None`` where the hub says nothing: for static fields."""
    return None if _is_empty(row.get(field)) else number(row, field)


def identity(row: Row, field: str) -> str:
    """A contract's id as text. Ids have up to 17 digits: a float would have lost the last ones.

    Raises:
        CellError: missing, not an integer or a text of digits, or longer than ids are.
    """
    value = row.get(field, _MISSING)
    if type(value) is int and 0 < value < 10**MAX_ID_DIGITS:
        return str(value)
    if isinstance(value, str):
        digits = value.strip()
        if digits.isascii() and digits.isdigit() and len(digits) <= MAX_ID_DIGITS:
            return digits
    raise CellError(field, "is missing" if value is _MISSING else "is not an id")


def text(row: Row, field: str) -> str:
    """A text that says something, as the hub spells it.

    Raises:
        CellError: missing, not a text, empty, too long, or not to be written in UTF-8.
    """
    value = optional_text(row, field)
    if value is None:
        raise CellError(field, "is missing" if field not in row else "is empty")
    return value


def optional_text(row: Row, field: str) -> str | None:
    """As `text`, but ``None`` where the hub says nothing."""
    value = row.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise CellError(field, "is not a text")
    if len(value) > MAX_TEXT:
        raise CellError(field, f"is longer than {MAX_TEXT} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CellError(field, "holds half of a character") from None
    return value if fold(value) else None


# Seconds may be left out, and their fraction is of any length.
_TIME: Final = re.compile(r"(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.\d*)?)?")


def moment(row: Row, field: str, day: date | None) -> datetime | None:
    """A stamp on Tehran's clock, without offset; of ``day`` where the hub gives only a time.

    ``None`` where there is none: ``null``, an empty text, ``"0"`` (warehouse receipts that were
    not traded), and the year 1, which is how .NET writes a moment that was never set.

    Raises:
        CellError: missing, no date or time, with an offset, of an impossible year, or a time
            while ``day`` is not known.
    """
    value = row.get(field, _MISSING)
    if _is_empty(value) or value == "0" or (type(value) is int and value == 0):
        return None
    if not isinstance(value, str):
        raise CellError(field, "is missing" if value is _MISSING else "is not a date and time")
    try:
        if match := _TIME.fullmatch(value):
            if day is None:
                raise CellError(field, "is a time, and nothing in the frame gives its day")
            return datetime.combine(day, _time(match))
        stamp = datetime.fromisoformat(value)
    except ValueError:
        raise CellError(field, f"is not a date and time: {value[:40]!r}") from None
    if stamp.year == 1:
        return None
    if stamp.tzinfo is not None or stamp.year not in YEARS:
        raise CellError(field, f"is not a moment on Tehran's clock: {value[:40]!r}")
    return stamp


_MONTHS: Final = (
    *("فروردین", "اردیبهشت", "خرداد", "تیر", "مرداد", "شهریور"),
    *("مهر", "آبان", "آذر", "دی", "بهمن", "اسفند"),
)
_NUMERIC_DAY: Final = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:T.*)?")
_WORDED_DAY: Final = re.compile(rf"(\d{{1,2}})\s+({'|'.join(_MONTHS)})\s+(\d{{4}})")
# Jalali and Gregorian years are 621 apart; nothing here is of the time between.
_FIRST_GREGORIAN_YEAR: Final = 1900


def optional_day(row: Row, field: str) -> str | None:
    """A day as ``YYYY-MM-DD`` (Gregorian), or ``None`` where the hub says nothing.

    >>> optional_day({"Last": "1401/02/27"}, "Last")
    '2022-05-17'
    >>> optional_day({"Last": "چهارشنبه ۲۰ بهمن ۱۴۰۰"}, "Last")
    '2022-02-09'
    """
    value = optional_text(row, field)
    if value is None:
        return None
    day = read_day(value)
    if day is None:
        raise CellError(field, f"is not a day: {value[:40]!r}")
    return day.isoformat() if day.year in YEARS else None


def read_day(value: str) -> date | None:
    """The day that a text begins with or names, Gregorian or Jalali; ``None`` if it does not."""
    value = fold(value)
    try:
        if match := _NUMERIC_DAY.fullmatch(value):
            year, month, day = (int(part) for part in match.groups())
            if 1 < year < _FIRST_GREGORIAN_YEAR:
                return _gregorian(year, month, day)
            return date(year, month, day)
        if match := _WORDED_DAY.search(value):
            return _gregorian(int(match[3]), _MONTHS.index(match[2]) + 1, int(match[1]))
    except (ValueError, OverflowError):
        pass
    return None


def read_clock(value: str) -> datetime | None:
    """The exchange's clock, ``یکشنبه ۱۷ بهمن ۱۴۰۰  -  ۱۳:۲۶:۰۵``; ``None`` if it is not one."""
    day = read_day(value)
    found = _TIME.search(fold(value))
    if day is None or found is None or day.year not in YEARS:
        return None
    try:
        return datetime.combine(day, _time(found))
    except ValueError:
        return None


def _time(match: re.Match[str]) -> time:
    hour, minute, second = match.groups(default="0")
    return time(int(hour), int(minute), int(second))


def _gregorian(year: int, month: int, day: int) -> date:
    # persiantools is typed, but for its constructors.
    return JalaliDate(year, month, day).to_gregorian()  # type: ignore[no-untyped-call]


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _problem_of_number(value: object) -> str:
    # Never the number itself: Python refuses to write one of more than 4300 digits.
    if value is _MISSING:
        return "is missing"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "is not a number"
    return "is negative" if value < 0 else "is too large or not a number"
