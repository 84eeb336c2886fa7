"""Read and write market data as JSON, as it is published, stored and received.

The same checks hold everywhere: types, completeness and size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from ime_live.errors import PayloadError
from ime_live.market import MICROSECONDS, Payload

MAX_STATE_BYTES: Final = 65_536
"""Limit of a contract's market data in bytes of JSON; about 750 are usual. Longer data is refused
before it is decoded, from every source."""

# A version further in the future is a mistake (nanoseconds, for instance). If it were accepted,
# the contract would be silent until then.
MAX_AHEAD: Final = 86_400 * MICROSECONDS

_BESIDE_DATA: Final = 256  # bytes

# Between a key and a comma or brace. Inside a text the quote before the colon has a backslash.
_ODD_NUMBER: Final = re.compile(rb'(?<=[A-Za-z]":)(?:-?[0-9.]+e\d+|-0\.0)(?=[,}])')

_PLACE: Final = re.compile(r" \(byte \d+\)")

_encode = msgspec.json.Encoder().encode
_decode_payload = msgspec.json.Decoder(Payload).decode
_decode_any = msgspec.json.Decoder().decode


def stored_json(payload: Payload) -> bytes:
    """Encode a payload with one spelling per number, so that the store can compare texts.

    Large floats are whole numbers and are written as such: 1e16 as 10000000000000000. The store's
    script treats 5.0 and 5 as equal, and keeps the first spelling.

    Raises:
        PayloadError: the JSON is longer than `MAX_STATE_BYTES`.
    """
    data = _ODD_NUMBER.sub(lambda match: b"%d" % int(float(match[0])), _encode(payload))
    check_size(len(data))
    return data


def check_size(size: int) -> None:
    """Refuse market data of more than `MAX_STATE_BYTES` bytes.

    Raises:
        PayloadError: ``size`` is larger.
    """
    if size > MAX_STATE_BYTES:
        raise PayloadError(
            f"market data must be at most {MAX_STATE_BYTES} bytes of JSON, got {size}",
            kind="too long",
        )


def read_payload(data: Payload | Mapping[str, Any] | bytes | str) -> Payload:
    """Check and decode a payload before it is published.

    Keys that are not documented are refused: most are misspelt, and they would not reach clients.

    Args:
        data: a payload, a mapping of its sections by their names on the wire, or JSON.

    Returns:
        The payload; ``data`` itself is not changed.

    Raises:
        PayloadError: a field is missing, unknown or of the wrong type (the text names it), or the
            JSON is longer than `MAX_STATE_BYTES`.
    """
    try:
        # Via JSON even for a mapping: a value that JSON cannot hold (NaN becomes null) must fail
        # here, and not at the readers.
        encoded = data if isinstance(data, bytes | str) else _encode(data)
        check_size(len(encoded))  # a text has at least as many bytes as characters
        if isinstance(encoded, str):
            encoded = encoded.encode()
            check_size(len(encoded))
        payload = _decode_payload(encoded)
        if not isinstance(data, Payload):
            _refuse_unknown_keys(_decode_any(encoded), msgspec.to_builtins(payload), "$")
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise PayloadError(str(error)) from error
    return payload


def read_stored(data: bytes) -> Payload:
    """Decode market data from the store, and drop keys that are not documented.

    Raises:
        PayloadError: as `read_payload`, except for unknown keys.
    """
    check_size(len(data))
    try:
        return _decode_payload(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise payload_error(error) from error


def payload_error(error: Exception) -> PayloadError:
    """Convert an error of the decoder to a `PayloadError`."""
    # The position differs from message to message, so it is not a part of the kind.
    kind = error.reason if isinstance(error, UnicodeDecodeError) else _PLACE.sub("", str(error))
    return PayloadError(str(error), kind=kind)


def _refuse_unknown_keys(data: object, documented: object, path: str) -> None:
    if isinstance(data, dict) and isinstance(documented, dict):
        for key, value in data.items():
            if key not in documented:
                raise PayloadError(f"Object contains unknown field `{key}` - at `{path}`")
            _refuse_unknown_keys(value, documented[key], f"{path}.{key}")


def merge(payload: Payload, part: Mapping[str, Any]) -> Payload:
    """Return ``payload`` with the values in ``part`` replaced, at any depth.

    ``merge(p, {"BestLimit": {"1": {"buy_price": 5}}})`` changes one price and nothing else.

    Raises:
        PayloadError: ``part`` names an unknown key, or a value has the wrong type.
    """
    values = msgspec.to_builtins(payload)
    _merge_into(values, part)
    return read_payload(values)


def _merge_into(target: dict[str, Any], part: Mapping[str, Any]) -> None:
    for key, value in part.items():
        inner = target.get(key)
        if isinstance(inner, dict) and isinstance(value, Mapping):
            _merge_into(inner, value)
        else:
            target[key] = value


class _Publication(Struct, gc=False):
    # A message of a contract's channel. Foreign publishers may leave out the version.
    data: Payload
    version: int | None = None


_decode_publication = msgspec.json.Decoder(_Publication).decode


def read_publication(raw: bytes, now: int) -> tuple[int | None, Payload]:
    """Decode a message of a contract's channel.

    Args:
        raw: the message, JSON.
        now: the reader's clock in microseconds since the epoch.

    Returns:
        The version, if the message has one, and the payload.

    Raises:
        PayloadError: the message is not JSON, the payload is incomplete, of the wrong types or
            longer than `MAX_STATE_BYTES`, or the version is out of range.
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
    # The envelope is short. Far above the limit, the data need not be measured separately.
    size = len(raw)
    if size <= MAX_STATE_BYTES + _BESIDE_DATA:
        size = len(memoryview(_find_data(raw).data))
    check_size(size)
