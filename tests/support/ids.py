"""Ids of parametrized tests: values in place of pytest's ``arguments2``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import FunctionType

import msgspec
from msgspec import Struct

_LONGEST = 50
"""Characters of an id, so that a line of pytest's output still shows it."""

_LONGEST_WORD = 25
_LARGEST = 10**8


def readable_id(value: object) -> str | None:
    """Return the id of a parameter; None to leave it to pytest, which shows texts and numbers.

    Workers of pytest-xdist must find the same ids. So an id has no address and no order of a set;
    it leaves out long texts, which may be keys, and large numbers, which may be the present time.
    """
    if value is None or isinstance(value, str | bytes | int | float | complex | Enum):
        return None
    text = _text(value)
    if text is None or len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST - 1]}…"


def _text(value: object) -> str | None:
    match value:
        case Enum():
            return value.name
        case None | bool() | Decimal() | date() | datetime() | time() | timedelta():
            return str(value)
        case int() | float():
            return str(value) if abs(value) < _LARGEST else "…"
        case str():
            # pytest-xdist sends ids as UTF-8, which has no surrogates.
            word = value.encode(errors="backslashreplace").decode()
            return (word if len(word) <= _LONGEST_WORD else "…") or "''"
        case bytes():
            return (ascii(value)[2:-1] if len(value) <= _LONGEST_WORD else "…") or "''"
        case type():
            return value.__name__
        case FunctionType():
            return None if value.__name__ == "<lambda>" else value.__name__
        case Exception():
            return _text(str(value))
        case Struct():
            fields = msgspec.structs.fields(value)
            given = {f.name: v for f in fields if (v := getattr(value, f.name)) != f.default}
            return f"{type(value).__name__}({_text(given) if given else ''})"
        case Mapping():
            parts = [(_text(key), _text(each)) for key, each in value.items()]
            return ",".join(f"{key or '…'}={each or '…'}" for key, each in parts) or "{}"
        case tuple() | list():
            return " ".join(_text(each) or "…" for each in value) or "()"
        case set() | frozenset():
            return " ".join(sorted(_text(each) or "…" for each in value)) or "()"
    return None
