"""Parsers: read single values of the exchange's rows: numbers, ids, texts, times and days.

A value that cannot be read raises a `ParseError`, which names the field. A value in an unusual form
(a number as text, a list with one element) is accepted if it is unambiguous.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from persiantools.jdatetime import JalaliDate

from ime_live.errors import FeedError
from ime_live.feeds.boards.wrapping import got, unwrap
from ime_live.market import Number
from ime_live.spelling import fold
from ime_live.timezones import zone_of_tehran

Row = Mapping[str, Any]
"""A row of a board, decoded from JSON; its values are unchecked."""

LARGEST: Final = 10**15
"""No price, quantity or value (in thousand rials) comes near this; a larger one is a mistake."""

MAX_ID_DIGITS: Final = 20
MAX_TEXT: Final = 500
YEARS: Final = range(2000, 2100)
"""Plausible years of a timestamp: the SignalR hub began after 2000."""

_MISSING: Final = object()


class ParseError(FeedError):
    """A field of a row that cannot be read. The text names the field and the fault."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")


def number(row: Row, field: str) -> Number:
    """Read a number that cannot be negative; ``null`` and an empty text are 0.

    A whole number is an ``int``, however it was written: 83600.0 is 83600, 83738.0952 stays, and
    ``"۸۳٬۶۰۰"`` is 83600 as well.

    Raises:
        ParseError: it is missing, not a number, negative, or too large.
    """
    value = row.get(field, _MISSING)
    # By exact type: True is not a quantity. NaN fails the comparison.
    if type(value) is float and 0 <= value <= LARGEST:
        return int(value) if value.is_integer() else value
    if type(value) is int and 0 <= value <= LARGEST:
        return value
    if value is None or value == "":
        return 0
    parsed = _read_number(field, value)
    if parsed < 0:
        raise ParseError(field, f"is negative, {got(value)}")
    return parsed


def signed(row: Row, field: str) -> Number:
    """Read a number that may be negative, otherwise as `number`."""
    value = row.get(field, _MISSING)
    if type(value) is int and -LARGEST <= value <= LARGEST:
        return value
    return 0 if value is None else _read_number(field, value)


# Thousands may be set apart, by commas and blanks of several kinds.
_NUMBER: Final = re.compile(
    r"([+-]?)(\d{1,3}(?:[,\u066c\u060c ]\d{3})+|\d+)(?:[.\u066b](\d+))?([eE][+-]?\d{1,3})?",
    re.ASCII,
)
_MINUS: Final = "\u2212"  # the mathematical one, as some formats write it
_MAX_NUMBER: Final = 60  # characters of a number that is a text


def _read_number(field: str, value: object) -> Number:
    """Read a number in any unambiguous form; an empty value is 0."""
    if value is _MISSING:
        raise ParseError(field, "is missing")
    plain = unwrap(value)
    if _is_empty(plain):
        return 0
    if isinstance(plain, str):
        folded = fold(plain[: _MAX_NUMBER + 1]).replace(_MINUS, "-")
        match = _NUMBER.fullmatch(folded) if len(plain) <= _MAX_NUMBER else None
        if match is None:
            raise ParseError(field, f"is not a number, {got(value)}")
        sign, whole, fraction, exponent = match.groups(default="")
        digits = sign + re.sub(r"\D", "", whole)
        plain = (
            float(f"{digits}.{fraction or 0}{exponent}") if fraction or exponent else int(digits)
        )
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise ParseError(field, f"is not a number, {got(value)}")
    if not -LARGEST <= plain <= LARGEST:  # nor NaN
        raise ParseError(field, f"is too large or not a number, {got(value)}")
    return int(plain) if plain == int(plain) else plain


def thousands(row: Row, field: str) -> Number:
    """Convert a value in thousands of rials (``هزار ریال``) exactly to rials.

    >>> thousands({"Value": 110501114.2}, "Value")
    110501114200
    """
    value = number(row, field)
    if isinstance(value, int):
        return value * 1000
    # The shortest text of a float is the SignalR hub's; multiplying floats would add noise.
    rials = Decimal(repr(value)) * 1000
    return int(rials) if rials == rials.to_integral_value() else float(rials)


def optional_number(row: Row, field: str) -> Number | None:
    """Read a number as `number` does, but an empty value is ``None``: for static fields."""
    return None if _is_empty(row.get(field)) else number(row, field)


_ID: Final = re.compile(r"\d+|\d{1,3}(?:[,\u066c\u060c]\d{3})+", re.ASCII)
_EXACT: Final = 2**53  # the whole numbers below it are floats without a loss


def identity(row: Row, field: str) -> str:
    """Read a contract's id as text. Ids have up to 17 digits, more than a float can hold.

    Raises:
        ParseError: it is missing, not a whole number or a text of one, or too long.
    """
    value = row.get(field, _MISSING)
    if value is _MISSING:
        raise ParseError(field, "is missing")
    plain = unwrap(value)
    if type(plain) is float and plain.is_integer() and abs(plain) < _EXACT:
        plain = int(plain)
    if type(plain) is int and 0 < plain < 10**MAX_ID_DIGITS:
        return str(plain)
    if isinstance(plain, str) and len(plain) <= MAX_TEXT:
        folded = fold(plain)
        digits = re.sub(r"\D", "", folded)
        if _ID.fullmatch(folded) and len(digits) <= MAX_ID_DIGITS:
            return digits
    raise ParseError(field, f"is not an id, {got(value)}")


def text(row: Row, field: str) -> str:
    """Read a text that is not empty, in the SignalR hub's spelling.

    Raises:
        ParseError: it is missing, not a text, empty, too long, or cannot be encoded as UTF-8.
    """
    value = optional_text(row, field)
    if value is None:
        raise ParseError(field, "is missing" if field not in row else "is empty")
    return value


def optional_text(row: Row, field: str) -> str | None:
    """Read a text as `text` does, or a whole number; an empty value is ``None``."""
    value = row.get(field)
    if value is None:
        return None
    plain = unwrap(value)
    if type(plain) is int and 0 <= plain < 10**MAX_ID_DIGITS:
        plain = str(plain)
    if not isinstance(plain, str):
        if plain is None:
            return None
        plain = value  # a text that happens to be JSON of something else
    if not isinstance(plain, str):
        raise ParseError(field, f"is not a text, {got(value)}")
    if len(plain) > MAX_TEXT:
        raise ParseError(field, f"is longer than {MAX_TEXT} characters")
    try:
        plain.encode()
    except UnicodeEncodeError:
        raise ParseError(field, "contains half of a surrogate pair") from None
    return plain if fold(plain) else None


def flag(row: Row, field: str) -> bool:
    """Read a truth value; an empty value is False.

    Raises:
        ParseError: it is neither true nor false, nor 1, 0 or a text of these.
    """
    value = unwrap(row.get(field))
    if isinstance(value, bool) or _is_empty(value):
        return bool(value)
    booleans = {"true": True, "1": True, "false": False, "0": False}
    if (
        isinstance(value, str | int)
        and (boolean := booleans.get(str(value)[:10].strip().lower())) is not None
    ):
        return boolean
    raise ParseError(field, f"is neither true nor false, {got(row.get(field))}")


# Seconds may be left out, and their fraction is of any length.
_TIME: Final = re.compile(r"(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:\.\d*)?)?")


def moment(row: Row, field: str, day: date | None) -> datetime | None:
    """Read a timestamp on Tehran's clock, without offset; a time alone is on ``day``.

    ``None`` for no timestamp: ``null``, an empty text, ``"0"`` (warehouse receipts that were
    not traded), and the year 1, which is how .NET writes a moment that was never set.

    Raises:
        ParseError: it is missing, not a date or time, has an offset or an impossible year, or is a
            time while ``day`` is unknown.
    """
    value = row.get(field, _MISSING)
    if value is None or value == "":
        return None
    if value is _MISSING:
        raise ParseError(field, "is missing")
    timestamp = value
    if type(value) is not str or not value.isascii() or not value[0].isdigit():
        timestamp = unwrap(value)
        if isinstance(timestamp, str):
            timestamp = fold(timestamp[:MAX_TEXT])  # digits of other scripts
    if _is_empty(timestamp) or (type(timestamp) is int and timestamp == 0):
        return None
    if not isinstance(timestamp, str) or len(timestamp) > MAX_TEXT:
        raise ParseError(field, f"is not a date and time, {got(value)}")
    try:
        at = _read_moment(timestamp)
    except _NotOfTehranError:
        raise ParseError(field, f"is not a moment on Tehran's clock, {got(value)}") from None
    except (ValueError, OverflowError):
        raise ParseError(field, f"is not a date and time, {got(value)}") from None
    if not isinstance(at, time):
        return at
    if day is None:
        raise ParseError(field, "is a time, and the frame does not have its day")
    return datetime.combine(day, at)


class _NotOfTehranError(Exception):
    pass


# Most timestamps of a push equal those of the push before.
@lru_cache(maxsize=4096)
def _read_moment(timestamp: str) -> datetime | time | None:
    if timestamp == "0":
        return None
    if match := _TIME.fullmatch(timestamp):
        return _time(match)
    at = _from_dot_net(timestamp) or datetime.fromisoformat(timestamp.strip())
    if at.year == 1:
        return None
    if at.tzinfo is not None or at.year not in YEARS:
        raise _NotOfTehranError
    return at


# As ASP.NET's own JSON was written before it was ISO 8601: milliseconds since the Unix epoch.
_DOT_NET: Final = re.compile(r"\\?/Date\((-?\d{1,15})(?:[+-]\d{4})?\)\\?/", re.ASCII)


def _from_dot_net(timestamp: str) -> datetime | None:
    """The moment of ``/Date(1690882810500)/`` on Tehran's clock; ``None`` if it is not one."""
    match = _DOT_NET.fullmatch(timestamp)
    if match is None:
        return None
    return datetime.fromtimestamp(int(match[1]) / 1000, zone_of_tehran()).replace(tzinfo=None)


_MONTHS: Final = (
    *("فروردین", "اردیبهشت", "خرداد", "تیر", "مرداد", "شهریور"),
    *("مهر", "آبان", "آذر", "دی", "بهمن", "اسفند"),
)
_NUMERIC_DAY: Final = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:T.*)?")
_WORDED_DAY: Final = re.compile(rf"(\d{{1,2}})\s+({'|'.join(_MONTHS)})\s+(\d{{4}})")
# Jalali and Gregorian years are 621 apart; nothing here is of the time between.
_FIRST_GREGORIAN_YEAR: Final = 1900


def optional_day(row: Row, field: str) -> date | None:
    """Read a day, Gregorian or Jalali; an empty value is ``None``.

    >>> optional_day({"Last": "1401/02/27"}, "Last")
    datetime.date(2022, 5, 17)
    >>> optional_day({"Last": "چهارشنبه ۲۰ بهمن ۱۴۰۰"}, "Last")
    datetime.date(2022, 2, 9)
    """
    value = optional_text(row, field)
    if value is None:
        return None
    day = read_day(value)
    if day is None:
        raise ParseError(field, f"is not a day, {got(row.get(field))}")
    return day if day.year in YEARS else None


def read_day(value: str) -> date | None:
    """Return the day in a text, Gregorian or Jalali; ``None`` if there is none."""
    value = fold(value)
    try:
        if at := _from_dot_net(value):
            return at.date()
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
    """Read the exchange's clock, ``یکشنبه ۱۷ بهمن ۱۴۰۰  -  ۱۳:۲۶:۰۵``; ``None`` if it is none."""
    day = read_day(value)
    match = _TIME.search(fold(value))
    if day is None or match is None or day.year not in YEARS:
        return None
    try:
        return datetime.combine(day, _time(match))
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
