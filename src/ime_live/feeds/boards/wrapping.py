"""Wrappings: unwrap values that the SignalR hub wraps in lists, objects or JSON texts.

A list or an object with one member stands for that member, and a text of JSON for its content.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 5
"""Wrappings around a value beyond which it is refused as an attack or a mistake."""

_SHOWN: Final = 40  # characters of a value that a message quotes
_MOST_DIGITS: Final = 40  # of a number that is quoted; Python refuses to write very long ones
_MOST_MEMBERS: Final = 3  # names of members that are quoted


def unwrap(value: object) -> object:
    """Return the value inside lists and objects with one member, and inside JSON texts.

    >>> unwrap(['{"value": 5}'])
    5
    """
    for _ in range(MAX_DEPTH):
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        elif isinstance(value, Mapping) and len(value) == 1:
            value = next(iter(value.values()))
        elif isinstance(value, str) and value.lstrip()[:1] in ('"', "[", "{"):
            inner = _read_json(value)
            if inner is value:
                return value
            value = inner
        else:
            return value
    return value


def rows_in(value: object, ids: Collection[str], depth: int = 0) -> Iterator[object]:
    """Return the rows in a value, in their order, with any wrapping.

    Lists are gone through. An object that has none of the fields of a row's id stands for its only
    member that holds something itself, or for all of its members if each of them is a list or an
    object. A value that is no row and wraps none is returned as it is.

    Args:
        value: decoded JSON.
        ids: the fields of which a row has one.
        depth: wrappings around ``value``.
    """
    while isinstance(value, str) and (said := _read_json(value)) is not value:
        value = said
    inner: Collection[object] | None = None
    if depth <= MAX_DEPTH:
        if isinstance(value, list):
            inner = value
        elif isinstance(value, Mapping) and not any(each in value for each in ids):
            found = [each for each in map(_container, value.values()) if each is not None]
            full = [each for each in found if each]
            if found and (len(full) <= 1 or len(found) == len(value)):
                inner = full
    if inner is None:
        yield value
    else:
        for each in inner:
            yield from rows_in(each, ids, depth + 1)


def got(value: object) -> str:
    """Describe a value in a few words, for the error that refuses it."""
    match value:
        case None:
            return "got null"
        case bool():
            return f"got {str(value).lower()}"
        case int() if abs(value) >= 10**_MOST_DIGITS:
            return f"got a number of more than {_MOST_DIGITS} digits"
        case list():
            return f"got a list of {len(value)}"
        case Mapping():
            names = ", ".join(repr(str(each)[:_SHOWN]) for each in list(value)[:_MOST_MEMBERS])
            more = ", …" if len(value) > _MOST_MEMBERS else ""
            return f"got an object with {names}{more}" if value else "got an empty object"
        case str():
            return f"got {value[:_SHOWN]!r}{'…' if len(value) > _SHOWN else ''}"
        case _:
            return f"got {value!r}"


def _container(value: object) -> Collection[object] | None:
    """Return the list or object in a value, which may be a JSON text."""
    if isinstance(value, str):
        value = _read_json(value)
    return value if isinstance(value, list | Mapping) else None


def _read_json(text: str) -> Any:  # noqa: ANN401 - any JSON
    """Decode a JSON text; return it unchanged if it is not JSON, or only a number or a word."""
    if text.lstrip()[:1] not in ('"', "[", "{"):
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return text
