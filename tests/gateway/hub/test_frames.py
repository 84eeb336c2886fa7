"""Messages and frames: to the letter of the documentation, and readable by `websockets`.

Each compressed frame is readable by itself: nothing of an earlier one is needed.
"""

from __future__ import annotations

import json
import random
import zlib

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from ime_live.gateway.hub import frames as wire
from ime_live.market_json import read_payload
from tests.support.frames import Reader
from tests.support.payloads import payload
from tests.support.rows import each_row

TIMESTAMP = b"2026-05-23T15:10:00.000000"


def inflate(frame: bytes, header: int) -> bytes:
    """Decompress a frame as a client does that has just connected (RFC 7692, 7.2.2)."""
    return zlib.decompressobj(-wire.WINDOW_BITS).decompress(frame[header:] + b"\x00\x00\xff\xff")


@each_row(
    ("length", "header"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_frame_header_has_the_length(length: int, header: bytes) -> None:
    text = b"x" * length
    frame = wire.text_frame(text)
    assert frame == header + text
    assert Reader().texts(frame) == [text]


def test_compressed_frames_use_no_context_takeover() -> None:
    texts = [
        wire.message(wire.envelope_by_id("1"), TIMESTAMP, payload(n).to_json()) for n in (1, 2)
    ]
    first, second = (wire.compressed_frame(text) for text in texts)
    assert first[0] == 0xC1
    assert first[1] == 126
    assert inflate(second, 4) == texts[1]
    assert len(first) < len(texts[0]) * 0.6
    # By one client in any order, and by another one that has just come.
    assert Reader(compressed=True).texts(second + first + second) == [texts[1], texts[0], texts[1]]
    assert Reader(compressed=True).texts(second) == [texts[1]]


def test_compression_stays_within_the_window() -> None:
    """A client that negotiates this window needs no larger one."""
    text = random.Random(1).randbytes(1500).hex().encode() * 2
    inflater = zlib.decompressobj(-wire.WINDOW_BITS)
    rest, read = wire.compressed_frame(text)[4:] + b"\x00\x00\xff\xff", b""
    while rest:  # in small pieces, so that only the window is left of what was read before
        read += inflater.decompress(rest, 100)
        rest = inflater.unconsumed_tail
    assert read + inflater.flush() == text


@given(st.binary(max_size=70_000).map(lambda raw: raw.hex().encode()))
def test_compressed_text_inflates_to_itself(text: bytes) -> None:
    assert Reader().texts(wire.text_frame(text)) == [text]
    assert Reader(compressed=True).texts(wire.compressed_frame(text)) == [text]


def test_message_by_name_to_the_letter() -> None:
    text = wire.message(wire.envelope_by_name("ContractA"), TIMESTAMP, b"{}")
    assert text == (
        b'{"channel":"IME Stream","contractName":"ContractA",'
        b'"timestamp":"2026-05-23T15:10:00.000000","data":{}}'
    )


def test_message_by_id_to_the_letter() -> None:
    text = wire.message(wire.envelope_by_id("12345"), TIMESTAMP, b"{}")
    assert text == (
        b'{"channel":"IME Stream","ContractId":"12345",'
        b'"timestamp":"2026-05-23T15:10:00.000000","data":{}}'
    )


def test_utf8_is_not_escaped() -> None:
    assert "سكه0312پ01".encode() in wire.envelope_by_name("سكه0312پ01")
    data = payload(date="۱۴۰۵/۰۳/۰۲").to_json()
    assert "۱۴۰۵/۰۳/۰۲".encode() in data


@given(st.text())
def test_message_with_any_name_is_json(name: str) -> None:
    """Names may have quotes, backslashes and control characters."""
    text = wire.message(wire.envelope_by_name(name), TIMESTAMP, b"{}")
    assert json.loads(text)["contractName"] == name


def test_payload_has_documented_keys_in_order_without_spaces() -> None:
    data = payload().to_json()
    assert data == json.dumps(json.loads(data), separators=(",", ":")).encode()
    sections = json.loads(data)
    assert list(sections) == ["BestLimit", "Aggregate", "AllowedPriceRange", "ContractInfo"]
    assert list(sections["BestLimit"]) == ["1", "2", "3"]
    for level in sections["BestLimit"].values():
        assert list(level) == ["buy_quantity", "buy_price", "sell_quantity", "sell_price"]
    assert list(sections["Aggregate"]) == [
        "date",
        "time",
        "trade_count",
        "total_volume",
        "total_value",
        "closing_price",
        "last_price",
        "low_price",
        "high_price",
        "open_price",
        "previous_close",
    ]
    assert list(sections["AllowedPriceRange"]) == ["minAllowedPrice", "maxAllowedPrice"]
    assert list(sections["ContractInfo"]) == ["open_interest", "open_interest_changes"]


@each_row(
    "number",
    ["0", "-4", "80978.9", "1.0", "-0.0", "1e22", "9999999999", "18446744073709551616", "9" * 30],
)
def test_numbers_keep_their_spelling(number: str) -> None:
    raw = payload(7777).to_json().replace(b"7777", number.encode())
    assert read_payload(raw).to_json() == raw


def test_ping_is_one_empty_frame() -> None:
    assert Frame(Opcode.PING, b"").serialize(mask=False) == wire.PING


def test_status_message_is_encoded_to_the_letter() -> None:
    contracts = [("1", b"2026-05-23T15:10:00.000001"), ('a"b', None)]
    text = wire.status_message(b"2026-05-23T15:10:00.000000", b'{"feed":null}', contracts)
    assert text == (
        b'{"channel":"IME Status","timestamp":"2026-05-23T15:10:00.000000","data":{"feed":null,'
        b'"contracts":{"1":"2026-05-23T15:10:00.000001","a\\"b":null}}}'
    )
    assert json.loads(text)["data"]["contracts"]['a"b'] is None


class TestEvents:
    def test_event_has_id_and_data_lines(self) -> None:
        text = wire.message(wire.envelope_by_id("1"), TIMESTAMP, payload(1).to_json())
        event = wire.framed(text, wire.Format.EVENT, TIMESTAMP)
        assert event == b"id: " + TIMESTAMP + b"\ndata: " + text + b"\n\n"

    def test_event_without_id_has_no_id_line(self) -> None:
        assert wire.framed(b"{}", wire.Format.EVENT) == b"data: {}\n\n"

    def test_event_of_another_type_has_an_event_line(self) -> None:
        assert wire.event(b"{}", name=b"end") == b"event: end\ndata: {}\n\n"

    @given(st.text())
    def test_line_breaks_in_a_name_do_not_end_the_event(self, name: str) -> None:
        text = wire.message(wire.envelope_by_name(name), TIMESTAMP, b"{}")
        assert b"\n" not in text
        assert b"\r" not in text
