"""Messages: typed, decoded when they are looked at, and nothing of the wire is lost."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from msgspec import UNSET

from ime_live.client.protocol.message import Message, Reader, Status
from ime_live.contracts import Market
from ime_live.errors import PayloadError, ServiceError
from ime_live.market import Level, Payload, PayloadSections
from ime_live.messages import ControlData
from ime_live.status import FeedState
from tests.support.rows import each_row
from tests.support.stream_messages import DATA, LEVEL, update

TEHRAN = ZoneInfo("Asia/Tehran")
READER = Reader(TEHRAN, Payload)


def read(raw: bytes) -> Message[Payload]:
    message = READER.read(raw)
    assert isinstance(message, Message)
    return message


def test_message_by_name_is_read() -> None:
    raw = update("سكه0312پ01", 7, skipped=3)
    message = read(raw)
    assert (message.contract_name, message.contract_id) == ("سكه0312پ01", None)
    assert message.timestamp == datetime(2026, 5, 23, 15, 10, 0, 7, TEHRAN)
    assert message.timestamp.utcoffset() == timedelta(hours=3, minutes=30)
    assert message.data.best_limit["1"].buy_price == 999100
    assert message.data.aggregate.closing_price == 999393.5
    assert message.data is message.data
    assert message.skipped == 3
    assert message.raw == raw
    assert message.to_dict() == json.loads(raw)
    assert "سكه0312پ01" in repr(message)


def test_message_has_levels_of_the_book() -> None:
    levels = {n: LEVEL | {"buy_price": 100 - int(n)} for n in "123"}
    best = read(update("A", data=DATA | {"BestLimit": levels})).data.best_limit
    assert [level.buy_price for level in best] == [99, 98, 97]
    assert [best["1"], best["2"], best[3]] == list(best)
    assert all(name in best for name in ("1", "3", 1, 3))
    assert not any(name in best for name in ("0", "4", 0, 4, True, "first", None))
    assert all(level in best for level in best)
    assert Level(0, 0, 0, 0) not in best
    with pytest.raises(KeyError):
        best["4"]


def test_message_by_id_in_another_time_zone_is_read() -> None:
    raw = json.dumps(
        {"channel": "IME Stream", "ContractId": "1", "timestamp": "2026-05-23T15:10:00.000000"}
        | {"data": DATA, "new": "keys are ignored"}
    ).encode()
    message = Reader(UTC, Payload).read(raw)
    assert isinstance(message, Message)
    assert (message.contract_name, message.contract_id) == (None, "1")
    assert message.timestamp == datetime(2026, 5, 23, 15, 10, tzinfo=UTC)
    assert message.skipped == 0


def test_message_of_sections_is_read() -> None:
    message = Reader(TEHRAN, PayloadSections).read(
        update("A", data={"ContractInfo": DATA["ContractInfo"]})
    )
    assert isinstance(message, Message)
    assert message.data.aggregate is UNSET
    assert message.data.contract_info is not UNSET
    assert message.data.contract_info.open_interest == 4997


def test_missing_section_raises_where_it_is_read() -> None:
    message = read(update("A", data={"BestLimit": {}}))
    with pytest.raises(PayloadError, match=r"\$\.BestLimit"):
        message.data  # noqa: B018
    assert message.to_dict()["data"] == {"BestLimit": {}}  # and can be looked at all the same


@pytest.mark.parametrize("part", [b'"\xff"', b"1e400"])
def test_unreadable_part_of_a_message_is_a_payload_error_of_the_whole(part: bytes) -> None:
    message = read(update("ContractA", 7)[:-1] + b',"more":' + part + b"}")
    assert message.data.best_limit["1"].buy_price == 999100
    with pytest.raises(PayloadError, match="a message cannot be read as a whole: "):
        message.to_dict()


def test_copy_of_a_deeply_nested_message_fails_with_an_error_of_the_package() -> None:
    # From a certain depth on, the decoder needs more levels than are left where it is copied.
    copied = 0
    for depth in range(900, 1_000):
        try:
            message = read(
                update("ContractA", 7)[:-1] + b',"more":' + b"[" * depth + b"]" * depth + b"}"
            )
        except ServiceError:
            break
        with suppress(ServiceError):
            copied += copy.copy(message) == message
    assert copied


def test_status_message_is_read() -> None:
    data = {
        "feed": "live",
        "since": "2026-05-23T11:45:00.104000",
        "lastBoard": None,
        "current": True,
        "markets": {"IMEFutures": "halted", "IMEOfNextYear": "live"},
        "contracts": {"A": "2026-05-23T15:10:00.000000", "B": None},
    }
    text = {"channel": "IME Status", "timestamp": "2026-05-23T15:10:04.000000", "data": data}
    status = READER.read(json.dumps(text).encode())
    assert isinstance(status, Status)
    assert (status.feed, status.current, status.last_board) == (FeedState.LIVE, True, None)
    assert status.timestamp == datetime(2026, 5, 23, 15, 10, 4, tzinfo=TEHRAN)
    assert status.since == datetime(2026, 5, 23, 11, 45, 0, 104000, TEHRAN)
    # A market that a newer gateway has is left out; a state that it has is stale.
    assert status.markets == {Market.FUTURES: FeedState.STALE}
    assert all(isinstance(market, Market) for market in status.markets)
    assert status.contracts == {"A": datetime(2026, 5, 23, 15, 10, tzinfo=TEHRAN), "B": None}


def test_answer_and_unknown_channels_are_read() -> None:
    data = {"id": 1, "action": "subscribe", "contract_names": [], "contract_ids": [], "errors": []}
    text = {"channel": "IME Control", "timestamp": "2026-05-23T15:10:04.000000", "data": data}
    assert isinstance(READER.read(json.dumps(text).encode()), ControlData)
    assert READER.read(b'{"channel": "IME News", "headline": 1}') is None


@each_row(
    "raw",
    [
        b"",
        b"hello",
        b"[]",
        b"{}",
        b'{"channel": "IME Stream"}',
        b'{"channel": "IME Stream", "timestamp": "2026-05-23T15:10:00.000000", "data": {}}',
        b'{"channel": "IME Status", "timestamp": 5}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_malformed_message_is_an_error(raw: bytes) -> None:
    with pytest.raises(ServiceError, match="the service sent"):
        READER.read(raw)


def test_malformed_timestamp_is_an_error() -> None:
    raw = update("A").replace(b"2026-05-23T15", b"yesterday, 15")
    with pytest.raises(ServiceError, match="must send ISO 8601 timestamps, got yesterday"):
        read(raw).timestamp  # noqa: B018


def test_printed_message_shows_bid_ask_and_last() -> None:
    head = "2026-05-23T15:10:00.000007 سكه0312پ01"
    assert str(read(update("سكه0312پ01", 7))) == f"{head} bid 999100 ask 999900 last 999100"
    empty = {"1": LEVEL | {"buy_price": 0, "sell_price": 0}, "2": LEVEL, "3": LEVEL}
    data = DATA | {"BestLimit": empty, "Aggregate": DATA["Aggregate"] | {"last_price": 0.5}}
    assert str(read(update("سكه0312پ01", 7, data))) == f"{head} bid - ask - last 0.5"


@each_row(
    ("sections", "shown"),
    [
        (["BestLimit"], " bid 999100 ask 999900"),
        (["Aggregate"], " last 999100"),
        (["ContractInfo"], ""),
    ],
)
def test_printed_message_of_sections(sections: list[str], shown: str) -> None:
    raw = update("A", 7, {name: DATA[name] for name in sections})
    message = Reader(TEHRAN, PayloadSections).read(raw)
    assert str(message) == f"2026-05-23T15:10:00.000007 A{shown}"


def test_printed_message_without_all_sections() -> None:
    text = str(read(update("A", 7, {"BestLimit": 5})))
    reason = "the data of a message cannot be read: Expected `object`, got `int`"
    assert text.startswith(f"2026-05-23T15:10:00.000007 A (no prices: {reason}")
