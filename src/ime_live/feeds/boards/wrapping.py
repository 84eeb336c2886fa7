"""Wrappings: unwrap values that the SignalR hub wraps in lists, objects or JSON texts.

A list or an object with one member stands for that member, and a text of JSON for its content.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 5
"""Maximum number of wrappings around a value; a deeper value is an attack or a mistake."""

_SHOWN: Final = 40  # characters of a value that a message quotes
_MAX_DIGITS: Final = 40  # of a number that is quoted; Python refuses to write very long ones
_MAX_MEMBERS: Final = 3  # names of members that are quoted


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

    Lists are searched. An object without any of the id fields of a row stands for its only
    non-empty member, or for all of its members if each of them is a list or an object. A value that
    neither is a row nor wraps one is returned unchanged.

    Args:
        value: decoded JSON.
        ids: the fields of which a row has one.
        depth: wrappings around ``value``.
    """
    while isinstance(value, str) and (decoded := _read_json(value)) is not value:
        value = decoded
    inner: Collection[object] | None = None
    if depth <= MAX_DEPTH:
        if isinstance(value, list):
            inner = value
        elif isinstance(value, Mapping) and not any(field in value for field in ids):
            containers = [
                container for container in map(_container, value.values()) if container is not None
            ]
            filled = [container for container in containers if container]
            if containers and (len(filled) <= 1 or len(containers) == len(value)):
                inner = filled
    if inner is None:
        yield value
    else:
        for item in inner:
            yield from rows_in(item, ids, depth + 1)


def got(value: object) -> str:
    """Describe a value in a few words, for the error that refuses it."""
    match value:
        case None:
            return "got null"
        case bool():
            return f"got {str(value).lower()}"
        case int() if abs(value) >= 10**_MAX_DIGITS:
            return f"got a number of more than {_MAX_DIGITS} digits"
        case list():
            return f"got a list of {len(value)}"
        case Mapping():
            names = ", ".join(repr(str(name)[:_SHOWN]) for name in list(value)[:_MAX_MEMBERS])
            more = ", …" if len(value) > _MAX_MEMBERS else ""
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
