"""Sections of a stored state: they are the stored bytes, and a malformed state is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ime_live.errors import PayloadError
from ime_live.gateway.upstream.sections import read_sections
from ime_live.market_json import MAX_STATE_BYTES
from tests.support.rows import each_row

MakePayload = Callable[..., dict[str, Any]]


def stored(payload: Any, **options: Any) -> bytes:  # noqa: ANN401 - any JSON
    return msgspec.json.format(msgspec.json.encode(payload), **options)


@each_row("indent", [-1, 0, 2])
def test_section_is_copied_as_it_is_stored(payload: MakePayload, indent: int) -> None:
    data = stored(payload(Aggregate={"last_price": 1163500.0, "time": "س"}), indent=indent)
    sections = read_sections(data)
    assert list(sections) == ["BestLimit", "Aggregate", "AllowedPriceRange", "ContractInfo"]
    for value in sections.values():
        assert value in data
    assert b"1163500.0" in sections["Aggregate"]


def test_unknown_keys_are_left_out(payload: MakePayload) -> None:
    theirs = payload(Aggregate={"theirs": 5}, BestLimit={"4": None})
    theirs["More"] = {}
    data = stored(theirs).replace(b'"theirs":5', b'"theirs":"\xff"')  # not even UTF-8
    assert {k: msgspec.json.decode(v) for k, v in read_sections(data).items()} == payload()


@each_row(
    ("data", "said"),
    [
        (b"", "truncated"),
        (b"{}", "BestLimit"),
        (b"[1]", "object"),
        (b"\xff\xfe", "invalid"),
        (b'{"BestLimit":' * 5000, ""),
    ],
)
def test_malformed_payload_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(PayloadError, match=f"(?i){said}"):
        read_sections(data)


@each_row(
    "wrong",
    [
        {"Aggregate": {"last_price": "5"}},
        {"Aggregate": {"time": None}},
        {"BestLimit": {"1": {"buy_price": None}}},
        {"ContractInfo": {"open_interest": []}},
    ],
)
def test_field_of_the_wrong_type_is_named(
    payload: MakePayload, wrong: dict[str, dict[str, Any]]
) -> None:
    [(section, fields)] = wrong.items()
    with pytest.raises(PayloadError, match=rf"\$\.{section}.*{next(iter(fields))}"):
        read_sections(stored(payload(**wrong)))


def test_text_that_is_not_utf_8_is_refused(payload: MakePayload) -> None:
    data = stored(payload(Aggregate={"time": "xyz"})).replace(b"xyz", b"x\xffz")
    with pytest.raises(PayloadError):
        read_sections(data)


@pytest.mark.parametrize("size", [MAX_STATE_BYTES + 1, 5_000_000])
def test_stored_data_that_is_too_long_is_refused_undecoded(payload: MakePayload, size: int) -> None:
    data = stored(payload())
    assert read_sections(data + b" " * (MAX_STATE_BYTES - len(data)))
    with pytest.raises(PayloadError, match=f"at most 65536 bytes of JSON, got {size}"):
        read_sections(data + b" " * (size - len(data)))
