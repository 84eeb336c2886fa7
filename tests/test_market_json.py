"""Market data as JSON: payloads, a channel's messages, sizes and spellings of numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ime_live.errors import PayloadError
from ime_live.market_json import (
    MAX_AHEAD,
    MAX_STATE_BYTES,
    merge,
    read_payload,
    read_publication,
    read_stored,
    stored_json,
)
from tests.support.rows import each_row

Factory = Callable[..., dict[str, Any]]
TEHRAN = ZoneInfo("Asia/Tehran")
NOW = 1_780_000_000_000_000

# Since September 2022 Iran's clocks are not changed any more.
SINCE_2023 = st.integers(1_672_531_200_000_000, 4_102_444_800_000_000)


class TestPayload:
    def test_payload_is_equal_from_every_form(self, payload: Factory) -> None:
        whole = payload()
        read = read_payload(whole)
        assert json.loads(read.to_json()) == whole
        text = json.dumps(whole)
        assert read == read_payload(text) == read_payload(text.encode()) == read_payload(read)

    def test_payload_is_copied(self, payload: Factory) -> None:
        read = read_payload(payload())
        copy = read_payload(read)
        copy.aggregate.last_price = 1
        assert read.aggregate.last_price == 1163500

    def test_payload_is_read_in_any_order(self, payload: Factory) -> None:
        turned = dict(reversed(payload().items()))
        assert read_payload(turned) == read_payload(payload())

    @each_row("section", ["BestLimit", "Aggregate", "ContractInfo"])
    def test_missing_section_is_named(self, payload: Factory, section: str) -> None:
        part = payload()
        del part[section]
        with pytest.raises(PayloadError, match=f"missing required field `{section}`"):
            read_payload(part)

    def test_missing_field_is_named(self, payload: Factory) -> None:
        part = payload()
        del part["BestLimit"]["2"]["buy_price"]
        with pytest.raises(PayloadError, match=r"`buy_price` - at `\$.BestLimit.2`"):
            read_payload(part)

    @each_row(
        ("value", "given"),
        [
            ("5", "str"),
            (None, "null"),
            (True, "bool"),
            ([], "array"),
            (Decimal("1.5"), "str"),
            (float("nan"), "null"),
            (float("inf"), "null"),
            (float("-inf"), "null"),
        ],
    )
    def test_malformed_number_is_named(self, payload: Factory, value: object, given: str) -> None:
        wrong = rf"Expected `int \| float`, got `{given}` - at `\$.Aggregate.last_price`"
        with pytest.raises(PayloadError, match=wrong):
            read_payload(payload(Aggregate={"last_price": value}))

    def test_malformed_number_of_a_built_payload_is_named(self, payload: Factory) -> None:
        read = read_payload(payload())
        read.contract_info.open_interest = float("nan")
        with pytest.raises(PayloadError, match=r"at `\$.ContractInfo.open_interest`"):
            read_payload(read)

    def test_number_is_not_a_text(self, payload: Factory) -> None:
        with pytest.raises(PayloadError, match=r"got `int` - at `\$.Aggregate.date`"):
            read_payload(payload(Aggregate={"date": 20260523}))

    @each_row(
        ("changes", "key", "place"),
        [
            ({"lastPrice": 1}, "lastPrice", r"\$"),
            ({"Aggregate": {"lastPrice": 1}}, "lastPrice", r"\$.Aggregate"),
            ({"BestLimit": {"4": 1}}, "4", r"\$.BestLimit"),
            ({"BestLimit": {"1": {"price": 1}}}, "price", r"\$.BestLimit.1"),
        ],
    )
    def test_unknown_key_is_named(
        self, payload: Factory, changes: dict[str, Any], key: str, place: str
    ) -> None:
        wrong = f"unknown field `{key}` - at `{place}`"
        with pytest.raises(PayloadError, match=wrong):
            read_payload(payload(**changes))

    @each_row(
        "data",
        ["", "{", "[]", "null", "5", b"\xff", "\ud800", "[" * 100_000, '{"x":' * 100_000],
    )
    def test_other_json_is_no_payload(self, data: bytes | str) -> None:
        with pytest.raises(PayloadError):
            read_payload(data)

    def test_mapping_that_json_cannot_hold_is_refused(self, payload: Factory) -> None:
        loop: dict[str, Any] = {}
        loop["loop"] = loop
        for data in (loop, payload(Aggregate={"date": object()})):
            with pytest.raises(PayloadError):
                read_payload(data)


class TestMerge:
    def test_merge_replaces_values_at_any_depth(self, payload: Factory) -> None:
        merged = merge(
            read_payload(payload()),
            {"BestLimit": {"1": {"buy_price": 5}}, "ContractInfo": {"open_interest": 6}},
        )
        assert json.loads(merged.to_json()) == payload(
            BestLimit={"1": {"buy_price": 5}}, ContractInfo={"open_interest": 6}
        )

    def test_merge_does_not_change_the_whole_payload(self, payload: Factory) -> None:
        whole = read_payload(payload())
        merge(whole, {"Aggregate": {"last_price": 1}})
        assert whole == read_payload(payload())

    def test_empty_merge_changes_nothing(self, payload: Factory) -> None:
        whole = read_payload(payload())
        assert merge(whole, {}) == merge(whole, {"Aggregate": {}}) == whole

    @each_row(
        ("part", "place"),
        [
            ({"Aggregat": {}}, "`Aggregat`"),
            ({"Aggregate": {"price": 1}}, "`price`"),
            ({"Aggregate": {"last_price": "1"}}, "last_price"),
            ({"Aggregate": None}, "Aggregate"),
            ({"BestLimit": {"1": 5}}, "BestLimit.1"),
        ],
    )
    def test_errors_name_the_field(
        self, payload: Factory, part: dict[str, Any], place: str
    ) -> None:
        with pytest.raises(PayloadError, match=place):
            merge(read_payload(payload()), part)


class TestPublication:
    def read(self, message: dict[str, Any]) -> tuple[int | None, Any]:
        return read_publication(json.dumps(message).encode(), NOW)

    def test_publication_has_a_version_or_none(self, payload: Factory) -> None:
        expected = read_payload(payload())
        assert self.read({"version": NOW, "data": payload()}) == (NOW, expected)
        assert self.read({"data": payload()}) == (None, expected)
        assert self.read({"version": None, "data": payload()}) == (None, expected)

    def test_unknown_keys_are_no_fault_and_are_not_forwarded(self, payload: Factory) -> None:
        data = payload(Source="x", Aggregate={"vwap": 1})
        version, read = self.read({"version": 1, "data": data, "sender": "y"})
        assert version == 1
        assert json.loads(read.to_json()) == payload()

    @each_row("version", [1, NOW, NOW + MAX_AHEAD])
    def test_versions_up_to_a_day_ahead(self, payload: Factory, version: int) -> None:
        assert self.read({"version": version, "data": payload()})[0] == version

    @each_row(
        "version",
        [0, -1, NOW + MAX_AHEAD + 1, NOW * 1000, 10**30],
    )
    def test_malformed_version_is_refused(self, payload: Factory, version: int) -> None:
        with pytest.raises(PayloadError, match=f"version {version} is not microseconds"):
            self.read({"version": version, "data": payload()})

    @each_row("version", [1.5, 1.0, "1", True, []])
    def test_version_that_is_not_a_whole_number_is_refused(
        self, payload: Factory, version: object
    ) -> None:
        with pytest.raises(PayloadError, match=r"at `\$.version`"):
            self.read({"version": version, "data": payload()})

    def test_malformed_field_of_a_publication_is_named(self, payload: Factory) -> None:
        with pytest.raises(PayloadError, match=r"at `\$.data.Aggregate.last_price`"):
            self.read({"data": payload(Aggregate={"last_price": "1"})})

    @each_row("raw", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000])
    def test_malformed_publication_is_refused(self, raw: bytes) -> None:
        with pytest.raises(PayloadError):
            read_publication(raw, NOW)

    @given(st.binary())
    def test_any_bytes_are_read_or_refused(self, raw: bytes) -> None:
        with pytest.raises(PayloadError):
            read_publication(raw, NOW)


def padded(data: bytes, size: int) -> bytes:
    """The same JSON with blanks, so that it has so many bytes."""
    return data[:-1] + b" " * (size - len(data)) + data[-1:]


class TestSize:
    @pytest.mark.parametrize("size", [MAX_STATE_BYTES + 1, 5_000_000])
    def test_payload_that_is_too_long_is_refused(self, payload: Factory, size: int) -> None:
        data = json.dumps(payload()).encode()
        said = f"^market data must be at most 65536 bytes of JSON, got {size}$"
        for form in (padded(data, size), padded(data, size).decode(), b"x" * size):
            with pytest.raises(PayloadError, match=said):
                read_payload(form)
        assert read_payload(padded(data, MAX_STATE_BYTES)) == read_payload(payload())
        assert read_payload(padded(data, MAX_STATE_BYTES).decode()) == read_payload(payload())

    def test_bytes_are_counted_and_not_characters(self, payload: Factory) -> None:
        text = json.dumps(payload(Aggregate={"date": "س" * 40_000}), ensure_ascii=False)
        with pytest.raises(PayloadError, match="at most 65536 bytes"):
            read_payload(text)

    def test_mapping_is_measured_as_it_is_written(self, payload: Factory) -> None:
        for whole in (payload(Aggregate={"date": "x" * 66_000}), payload(More="x" * 66_000)):
            with pytest.raises(PayloadError, match="at most 65536 bytes"):
                read_payload(whole)

    def test_merged_payload_is_measured(self, payload: Factory) -> None:
        with pytest.raises(PayloadError, match="at most 65536 bytes"):
            merge(read_payload(payload()), {"Aggregate": {"date": "x" * 66_000}})

    def test_numbers_are_measured_as_they_are_stored(self, payload: Factory) -> None:
        whole = payload(Aggregate={"date": "", "last_price": 1e300, "low_price": 1e300})
        room = MAX_STATE_BYTES - len(stored_json(read_payload(whole)))
        whole["Aggregate"]["date"] = "x" * room
        assert len(stored_json(read_payload(whole))) == MAX_STATE_BYTES
        whole["Aggregate"]["date"] += "x"
        with pytest.raises(PayloadError, match="got 65537"):
            stored_json(read_payload(whole))

    @pytest.mark.parametrize("form", [b'{"data":%b}', b'{ "version" : 5, "data" : %b , "x": 1 }'])
    def test_publication_is_measured_by_its_data(self, payload: Factory, form: bytes) -> None:
        data = json.dumps(payload()).encode()
        assert read_publication(form % padded(data, MAX_STATE_BYTES), NOW)
        for size in (MAX_STATE_BYTES + 1, MAX_STATE_BYTES + 10_000, 5_000_000):
            with pytest.raises(PayloadError, match="at most 65536 bytes of JSON") as caught:
                read_publication(form % padded(data, size), NOW)
            assert caught.value.kind == "too long"

    def test_longest_publication_of_ours_is_read(self, payload: Factory) -> None:
        state = read_payload(payload(Aggregate={"date": ""}))
        state.aggregate.date = "x" * (MAX_STATE_BYTES - len(stored_json(state)))
        raw = b'{"version":%d,"data":%b}' % (NOW, stored_json(state))
        assert read_publication(raw, NOW) == (NOW, state)

    def test_long_message_is_not_decoded(self) -> None:
        with pytest.raises(PayloadError, match=f"got {10**7}"):
            read_publication(b"[" * 10**7, NOW)

    def test_stored_state_that_is_too_long_is_refused(self, payload: Factory) -> None:
        data = json.dumps(payload(More=[])).encode()
        assert read_stored(padded(data, MAX_STATE_BYTES)) == read_payload(payload())
        with pytest.raises(PayloadError, match="got 65537"):
            read_stored(padded(data, MAX_STATE_BYTES + 1))


# -- one spelling for the store --------------------------------------------------------------


@each_row(
    ("one", "other"),
    [
        (10**16, 1e16),
        (-(10**16), -1e16),
        (123456789012345680, 1.2345678901234568e17),
        (2**64, float(2**64)),
        (0, -0.0),
        (int(1.5e300), 1.5e300),
    ],
)
def test_equal_numbers_are_stored_in_one_spelling(payload: Factory, one: int, other: float) -> None:
    first = read_payload(payload(Aggregate={"last_price": one}))
    second = read_payload(payload(Aggregate={"last_price": other}))
    assert first == second
    assert stored_json(first) == stored_json(second)
    assert read_payload(stored_json(second)) == second


@each_row("value", [2**53, 2**53 + 1, 1e-7, 0.1, 1.5, 5, 5.0, -3])
def test_unequal_numbers_keep_their_spelling(payload: Factory, value: float) -> None:
    read = read_payload(payload(Aggregate={"last_price": value}))
    assert stored_json(read) == read.to_json()


@each_row("text", ['a":1e16,', 'b":-0.0}', '\\":1e16,', '\\a":1e16,'])
def test_texts_that_look_like_numbers_are_stored_as_they_are(payload: Factory, text: str) -> None:
    read = read_payload(payload(Aggregate={"time": text}))
    assert read_payload(stored_json(read)).aggregate.time == text
