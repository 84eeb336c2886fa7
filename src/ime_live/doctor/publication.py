"""Publication: review a publisher's message, and explain its faults. No I/O.

The gateway drops a message at its first fault. Here all of them are named, with what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args, get_type_hints

import msgspec
from msgspec import Struct

from ime_live.errors import PayloadError
from ime_live.market import MICROSECONDS, SECTIONS, Payload
from ime_live.market_json import MAX_AHEAD, read_publication
from ime_live.spelling import pluralize

_decode = msgspec.json.Decoder().decode

_MAX_NAMED: Final = 6
"""Fields that are named one by one; a message with nothing right has forty."""

_UNITS: Final = (
    ("seconds", MICROSECONDS, "multiply by 1,000,000"),
    ("milliseconds", 1_000, "multiply by 1,000"),
    ("nanoseconds", 1 / 1_000, "divide by 1,000"),
)

# A version in another unit is within these factors of now. 2001 is 0.55 of 2026.
_NEAR: Final = (0.5, 1.5)


class Review(Struct, frozen=True, kw_only=True):
    """The contents of a message, and its faults.

    Attributes:
        version: microseconds since the Unix epoch; None without a version that can be read.
        payload: the market data; None if gateways cannot read the message.
        faults: why gateways drop the message, or misread its version.
        notes: possible mistakes, although gateways send the message to clients.
    """

    version: int | None = None
    payload: Payload | None = None
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether gateways pass the message on to clients."""
        return not self.faults


class PublicationReviewer:
    """Reviews the messages of one contract's channel, one after the other."""

    def __init__(self) -> None:
        """Create a reviewer that has seen no message yet."""
        self._last: int | None = None
        self._data: Payload | None = None

    def note_state(self, version: int, data: Payload | None = None) -> None:
        """Note a state that gateways already have, such as the stored one."""
        if self._last is None or version > self._last:
            self._last, self._data = version, data

    def review(self, message: bytes, now: int) -> Review:
        """Return the review of a message.

        Args:
            message: the message.
            now: microseconds since the Unix epoch, when it arrived.
        """
        try:
            decoded = _decode(message)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            return Review(faults=(f"the message must be JSON in UTF-8: {error}",))
        faults = list(_faults_of(decoded, now))
        notes = list(_notes_of(decoded))
        try:
            version, payload = read_publication(message, now)
        except PayloadError as error:
            return Review(faults=tuple(faults or [str(error)]), notes=tuple(notes))
        if faults:  # a version in another unit, which gateways take for one of 1970
            return Review(
                version=version, payload=payload, faults=tuple(faults), notes=tuple(notes)
            )
        if version is None:
            notes.append(
                "there is no version, so each gateway stamps the message by its own clock; send "
                "microseconds since the Unix epoch"
            )
        elif self._last is not None and version <= self._last:
            faults.append(_describe_stale(version, self._last, same=payload == self._data))
        elif payload == self._data:
            notes.append("the data is equal to the last message's; leave out what has not changed")
        if version is not None and not faults:
            self._last = version
        if not faults:
            self._data = payload
        return Review(version=version, payload=payload, faults=tuple(faults), notes=tuple(notes))


def _describe_stale(version: int, last: int, *, same: bool) -> str:
    if version == last:
        repeated = "with equal data: it was sent twice" if same else "though its data is another"
        return (
            f"version {version} is equal to the last one, {repeated}; a version must be above the "
            "last one of its contract"
        )
    return (
        f"version {version} is older than the last one by {_format_span(last - version)}; a "
        f"version must be above the last one of its contract, which is {last}"
    )


def _format_span(microseconds: int) -> str:
    seconds = microseconds / MICROSECONDS
    if seconds < 1:
        return f"{microseconds / 1000:g} ms"
    return f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 3600:.1f} h"


def _faults_of(message: Any, now: int) -> Iterator[str]:  # noqa: ANN401 - any JSON
    if not isinstance(message, dict):
        yield f"the message must be an object with version and data, got {_describe_kind(message)}"
        return
    if "version" in message:
        yield from _faults_of_version(message["version"], now)
    if "data" in message:
        yield from _faults_of_data(message["data"])
    elif message.keys() & SECTIONS.keys():
        yield 'the sections must be inside "data", as {"version": …, "data": {"BestLimit": …}}'
    else:
        got = ", ".join(map(str, message)) or "no key"
        yield f'the message must have "data", got {got:.100}'


def _faults_of_version(version: object, now: int) -> Iterator[str]:
    rule = "version must be a whole number of microseconds since the Unix epoch"
    if version is None:
        return
    if isinstance(version, bool) or not isinstance(version, int):
        yield f"{rule}, got {_describe_kind(version)} {version!r:.40}"
        return
    for unit, factor, remedy in _UNITS:
        if _NEAR[0] < version * factor / now < _NEAR[1]:
            yield f"{rule}, got {version}, which are {unit}; {remedy}"
            return
    if version <= 0:
        yield f"{rule}, got {version}"
    elif version > now + MAX_AHEAD:
        ahead = _format_span(version - now)
        yield f"{rule}, got {version}, which is {ahead} ahead of this machine's clock"


def _faults_of_data(data: object) -> Iterator[str]:
    if not isinstance(data, dict):
        yield f"data must be an object with {', '.join(SECTIONS)}, got {_describe_kind(data)}"
        return
    missing = [*_missing(data, Payload, "")]
    if missing:
        yield (
            "data must be complete, as clients keep nothing of the last message; missing: "
            + _named(missing)
        )
    yield from _first_of([*_wrong(data, Payload, "")])


def _notes_of(message: object) -> Iterator[str]:
    data = message.get("data") if isinstance(message, dict) else None
    if isinstance(data, dict):
        yield from _first_of([*_unknown(data, Payload, "")])


def _first_of(texts: list[str]) -> Iterator[str]:
    yield from texts[:_MAX_NAMED]
    if len(texts) > _MAX_NAMED:
        yield f"and {pluralize(len(texts) - _MAX_NAMED, 'more field')}"


def _named(fields: list[str]) -> str:
    more = len(fields) - _MAX_NAMED
    return ", ".join(fields[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _fields(kind: type[Struct]) -> Mapping[str, Any]:
    hints = get_type_hints(kind)
    return {
        attribute.encode_name: hints[attribute.name] for attribute in msgspec.structs.fields(kind)
    }


def _is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _missing(data: Mapping[str, Any], kind: type[Struct], path: str) -> Iterator[str]:
    for name, inner in _fields(kind).items():
        if name not in data:
            yield path + name
        elif _is_struct(inner) and isinstance(data[name], dict):
            yield from _missing(data[name], inner, f"{path}{name}.")


def _wrong(data: Mapping[str, Any], kind: type[Struct], path: str) -> Iterator[str]:
    for name, inner in _fields(kind).items():
        if name not in data:
            continue
        value = data[name]
        if _is_struct(inner):
            if isinstance(value, dict):
                yield from _wrong(value, inner, f"{path}{name}.")
            else:
                yield f"{path}{name} must be an object, got {_describe_kind(value)}"
        elif inner is str:
            if not isinstance(value, str):
                yield f"{path}{name} must be a text, got {_describe_kind(value)} {value!r:.40}"
        elif isinstance(value, bool) or not isinstance(value, get_args(inner)):
            remedy = "; leave out the quotes" if _is_quoted(value) else ""
            empty = "; where there is none, send 0" if value in (None, "") else ""
            got = f"{_describe_kind(value)} {value!r:.40}"
            yield f"{path}{name} must be a number, got {got}{remedy}{empty}"


def _unknown(data: Mapping[str, Any], kind: type[Struct], path: str) -> Iterator[str]:
    fields = _fields(kind)
    for name, value in data.items():
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"; {near[0]} may be meant" if near else ""
            yield f"{path}{name:.40} is not a documented field, and does not reach clients{hint}"
        elif _is_struct(fields[name]) and isinstance(value, dict):
            yield from _unknown(value, fields[name], f"{path}{name}.")


def _is_quoted(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(value) and float(value) == float(value)
    except ValueError:
        return False


def _describe_kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list():
            return "a list"
    return "an object"
