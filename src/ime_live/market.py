"""The market data of a contract: its payload, an update, and the time stamp of one.

JSON comes in, checked structs go out, and the other way round. These structs are the one
definition of the documented payload: validation, encoding and schemas come from them. Nothing
here knows where an update comes from or who gets it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from ime_live.errors import PayloadError

Number = int | float
"""A price in rials, a quantity or a count, as the publisher wrote it: 0 stays 0, 1.5 stays 1.5."""

MICROSECONDS: Final = 1_000_000
"""Microseconds in a second: versions count microseconds since the Unix epoch."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

MAX_STATE_BYTES: Final = 65_536
"""Bytes of JSON that a contract's market data may have; usual are 750. Whatever is longer is
refused wherever it comes from, before anybody decodes it."""


class Level(Struct, gc=False):
    """One level of the order book; prices in rials."""

    buy_quantity: Number
    buy_price: Number
    sell_quantity: Number
    sell_price: Number


_LEVELS: Final = frozenset({"1", "2", "3"})


class BestLimit(Struct, gc=False):
    """The three best levels of the order book, the best one first."""

    first: Level = field(name="1")
    second: Level = field(name="2")
    third: Level = field(name="3")

    def __getitem__(self, level: str | int) -> Level:
        """A level by its documented name: ``best_limit["1"]`` is the best one.

        Raises:
            KeyError: there is no such level.
        """
        match str(level):
            case "1":
                return self.first
            case "2":
                return self.second
            case "3":
                return self.third
        raise KeyError(level)

    # Without these two, Python would count up from 0 with what is above.

    def __iter__(self) -> Iterator[Level]:
        """The levels, the best one first."""
        return iter((self.first, self.second, self.third))

    def __contains__(self, item: object) -> bool:
        """Whether there is a level of this name, or one like this."""
        if isinstance(item, str | int):
            return str(item) in _LEVELS
        return any(item == level for level in self)


class Aggregate(Struct, gc=False):
    """The trading day so far; prices and ``total_value`` in rials.

    ``date`` is ``YYYY-MM-DD`` and ``time`` ``HH:MM:SS`` on Tehran's clock where the project's
    own feeds write them; a publisher may send other texts, which pass unchanged.
    """

    date: str
    time: str
    trade_count: Number
    total_volume: Number
    total_value: Number
    closing_price: Number
    last_price: Number
    low_price: Number
    high_price: Number
    open_price: Number
    previous_close: Number


class AllowedPriceRange(Struct, gc=False):
    """The prices that the exchange accepts today, in rials.

    The names are the documentation's; ``1`` and ``9999999999`` are its open range.
    """

    min_allowed_price: Number = field(name="minAllowedPrice")
    max_allowed_price: Number = field(name="maxAllowedPrice")


class ContractInfo(Struct, gc=False):
    """Open interest, and its change since the day before, in contracts."""

    open_interest: Number
    open_interest_changes: Number


class Payload(Struct, gc=False):
    """The complete market data of a contract: what a message carries in ``data``."""

    best_limit: BestLimit = field(name="BestLimit")
    aggregate: Aggregate = field(name="Aggregate")
    allowed_price_range: AllowedPriceRange = field(name="AllowedPriceRange")
    contract_info: ContractInfo = field(name="ContractInfo")

    def to_json(self) -> bytes:
        """Encode compactly, keys in the documented order, UTF-8 unescaped."""
        return _encode(self)


class Part(Struct, gc=False, omit_defaults=True):
    """Sections of a payload: all of them, or those that were asked for."""

    best_limit: BestLimit | UnsetType = field(default=UNSET, name="BestLimit")
    aggregate: Aggregate | UnsetType = field(default=UNSET, name="Aggregate")
    allowed_price_range: AllowedPriceRange | UnsetType = field(
        default=UNSET, name="AllowedPriceRange"
    )
    contract_info: ContractInfo | UnsetType = field(default=UNSET, name="ContractInfo")

    def to_json(self) -> bytes:
        """Encode compactly, keys in the documented order, UTF-8 unescaped."""
        return _encode(self)


SECTIONS: Final[Mapping[str, str]] = {
    each.encode_name: each.name for each in msgspec.structs.fields(Payload)
}
"""The sections of a payload in the documented order: name on the wire → attribute."""


def part_of(payload: Payload | Part, sections: Iterable[str]) -> Part:
    """These sections of a payload, by their names on the wire."""
    attributes = [SECTIONS[section] for section in sections]
    return Part(**{attribute: getattr(payload, attribute) for attribute in attributes})


_encode = msgspec.json.Encoder().encode

# Between a key and a comma or brace: in a text, the quote before the colon has a backslash.
_ODD_NUMBER: Final = re.compile(rb'(?<=[A-Za-z]":)(?:-?[0-9.]+e\d+|-0\.0)(?=[,}])')

_PLACE: Final = re.compile(r" \(byte \d+\)")


def stored_json(payload: Payload) -> bytes:
    """Encode a payload with one spelling per number, so that the store can compare texts.

    Large floats are whole numbers and are written as such: 1e16 as 10000000000000000. The store's
    script itself takes 5.0 for 5, and keeps the spelling that came first.

    Raises:
        PayloadError: it has more than `MAX_STATE_BYTES`.
    """
    data = _ODD_NUMBER.sub(lambda found: b"%d" % int(float(found[0])), _encode(payload))
    check_size(len(data))
    return data


_decode_payload = msgspec.json.Decoder(Payload).decode
_decode_any = msgspec.json.Decoder().decode


def check_size(size: int) -> None:
    """Refuse market data of more than `MAX_STATE_BYTES` bytes, before it is decoded.

    Raises:
        PayloadError: it is too long.
    """
    if size > MAX_STATE_BYTES:
        raise PayloadError(
            f"market data must be at most {MAX_STATE_BYTES} bytes of JSON, got {size}",
            kind="too long",
        )


def read_payload(data: Payload | Mapping[str, Any] | bytes | str) -> Payload:
    """Check a payload that somebody wants to publish.

    Stricter than what a gateway forwards: a key that the documentation does not know is an
    error too, since it is most often a slip of the pen and would be lost on the wire.

    Raises:
        PayloadError: not whole, a wrong type, an unknown key; the text names the field. Or it
            has more than `MAX_STATE_BYTES`.
    """
    try:
        # By way of JSON even for a mapping: what cannot be written (NaN is written as null)
        # must fail here, and not at the readers.
        raw = data if isinstance(data, bytes | str) else _encode(data)
        check_size(len(raw))  # a text has at least as many bytes as characters
        if isinstance(raw, str):
            raw = raw.encode()
            check_size(len(raw))
        payload = _decode_payload(raw)
        if not isinstance(data, Payload):
            _refuse_unknown_keys(_decode_any(raw), msgspec.to_builtins(payload), "$")
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise PayloadError(str(error)) from error
    return payload


def read_stored(data: bytes) -> Payload:
    """Read market data as the store keeps it; keys that are not documented are left out.

    Raises:
        PayloadError: as `read_payload`, but for unknown keys.
    """
    check_size(len(data))
    try:
        return _decode_payload(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise payload_error(error) from error


def payload_error(error: Exception) -> PayloadError:
    """The PayloadError that says what a decoder's error means."""
    # Where in the text something is wrong differs from message to message, and what is wrong not.
    kind = error.reason if isinstance(error, UnicodeDecodeError) else _PLACE.sub("", str(error))
    return PayloadError(str(error), kind=kind)


def _refuse_unknown_keys(given: object, known: object, path: str) -> None:
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            if key not in known:
                raise PayloadError(f"Object contains unknown field `{key}` - at `{path}`")
            _refuse_unknown_keys(value, known[key], f"{path}.{key}")


def merge(payload: Payload, part: Mapping[str, Any]) -> Payload:
    """Return ``payload`` with the values that ``part`` names replaced, at any depth.

    ``merge(p, {"BestLimit": {"1": {"buy_price": 5}}})`` changes one price and nothing else.

    Raises:
        PayloadError: ``part`` names an unknown key, or a value has the wrong type.
    """
    whole = msgspec.to_builtins(payload)
    _merge_into(whole, part)
    return read_payload(whole)


def _merge_into(whole: dict[str, Any], part: Mapping[str, Any]) -> None:
    for key, value in part.items():
        inner = whole.get(key)
        if isinstance(inner, dict) and isinstance(value, Mapping):
            _merge_into(inner, value)
        else:
            whole[key] = value


class Update(Struct, gc=False):
    """One state of one contract.

    ``version`` is in microseconds since the Unix epoch. It strictly grows for a contract: it
    orders states, tells equal ones apart from new ones, and is the client's ``timestamp``.
    """

    version: int
    payload: Payload


class _Publication(Struct, gc=False):
    # What a contract's channel carries; a publisher that is not ours may leave out the version.
    data: Payload
    version: int | None = None


_decode_publication = msgspec.json.Decoder(_Publication).decode

# A version further in the future than this is somebody's mistake (milliseconds, nanoseconds).
# Accepting it would silence the contract until then.
MAX_AHEAD: Final = 86_400 * MICROSECONDS

_BESIDE_DATA: Final = 256  # bytes


def read_publication(raw: bytes, now: int) -> tuple[int | None, Payload]:
    """Read a message of a contract's channel: its version, if it has one, and its payload.

    Args:
        raw: the message as it came, JSON.
        now: the reader's clock in microseconds since the epoch.

    Raises:
        PayloadError: not JSON, a payload that is not whole, of the wrong types or of more than
            `MAX_STATE_BYTES`, or a version that cannot be one.
    """
    try:
        if len(raw) > MAX_STATE_BYTES:
            _check_long_publication(raw)
        message = _decode_publication(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise payload_error(error) from error
    version = message.version
    if version is not None and not 0 < version <= now + MAX_AHEAD:
        raise PayloadError(
            f"version {version} is not microseconds since the epoch up to now",
            kind="not a version",
        )
    return version, message.data


class _Enclosed(Struct, gc=False):
    data: Raw


_find_data = msgspec.json.Decoder(_Enclosed).decode


def _check_long_publication(raw: bytes) -> None:
    # What stands beside the data in a message is short; only if it might be just that is looked.
    size = len(raw)
    if size <= MAX_STATE_BYTES + _BESIDE_DATA:
        size = len(memoryview(_find_data(raw).data))
    check_size(size)


def timestamp_of(version: int, zone: tzinfo) -> str:
    """The documented time stamp: ISO 8601, six digits, wall clock of ``zone``, no offset.

    >>> timestamp_of(1_779_536_400_000_000, UTC)
    '2026-05-23T11:40:00.000000'
    """
    moment = (EPOCH + timedelta(microseconds=version)).astimezone(zone)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds")


def version_of(timestamp: str, zone: tzinfo) -> int:
    """The version of which ``timestamp`` is the time stamp; the reverse of `timestamp_of`.

    Fewer digits, an offset or ``Z`` are accepted; without an offset it is ``zone``'s wall clock.

    Raises:
        ValueError: it is not a date and time of ISO 8601.
    """
    text = timestamp.strip()
    day, separator, time = text.partition("T")
    if not separator:
        day, _, time = text.partition(" ")
    if not time:
        raise ValueError(f"no date and time in {timestamp!r}")
    # In a query string a plus sign is a space: "…+03:30" arrives as "… 03:30".
    moment = datetime.fromisoformat(f"{day}T{time.replace(' ', '+')}")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return (moment - EPOCH) // timedelta(microseconds=1)
