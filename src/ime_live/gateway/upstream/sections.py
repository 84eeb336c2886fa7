"""Check a stored last state, and split it into sections as they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec
from msgspec import Raw, Struct, field

from ime_live.market import SECTIONS, Payload
from ime_live.market_json import check_size, payload_error

Sections = Mapping[str, bytes]
"""The sections of a last state: key in the payload → JSON."""

_encode = msgspec.json.Encoder().encode
_decode_payload = msgspec.json.Decoder(Payload).decode
_decode_raw = msgspec.json.Decoder(
    msgspec.defstruct(
        "Raw", [(attribute, Raw, field(name=key)) for key, attribute in SECTIONS.items()]
    )
).decode


def _strict(kind: type[Struct]) -> type[Struct]:
    """Return a copy of a type that refuses unknown keys, also in nested objects."""
    fields = [
        (
            each.name,
            _strict(each.type) if hasattr(each.type, "__struct_fields__") else each.type,
            field(name=each.encode_name),
        )
        for each in msgspec.structs.fields(kind)
    ]
    return msgspec.defstruct(kind.__name__, fields, forbid_unknown_fields=True)


_check_strictly = msgspec.json.Decoder(_strict(Payload)).decode


@lru_cache(maxsize=1_000)  # a state is requested more often than it changes
def read_sections(data: bytes) -> Sections:
    """Check a stored payload, and return its sections as stored.

    Undocumented keys are left out, as in streams.

    Raises:
        PayloadError: the payload is too long, not JSON or not complete, or a field has a wrong
            type. The text names the field.
    """
    check_size(len(data))
    try:
        try:
            _check_strictly(data)
        except msgspec.ValidationError:
            # It has undocumented keys, or it is invalid.
            data = _encode(_decode_payload(data))
        raw = _decode_raw(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise payload_error(error) from error
    return {key: bytes(getattr(raw, attribute)) for key, attribute in SECTIONS.items()}
