"""The cache of rows: rows that are not parsed again give the same result."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ime_live.feeds.boards import frame_reader
from ime_live.feeds.boards.frame_reader import FrameReader
from ime_live.feeds.boards.newest import NewestBoards
from ime_live.feeds.boards.row_cache import cut
from ime_live.feeds.boards.rows import MAX_AHEAD, read_row
from tests.support.board_frames import read_frame
from tests.support.boards import row
from tests.support.rows import each_row

FUTURES, OPTIONS = "updateFutureMarketsInfo", "updateMarketsInfo"
CDC, RECEIPTS = "updateCDCMarketsInfo", "updateGavahiMarketsInfo"
KINDS = {FUTURES: "future", OPTIONS: "strike", CDC: "certificate", RECEIPTS: "receipt"}
NOON = datetime.fromisoformat("2023-08-01T13:30:00")

Row = dict[str, Any]


def push(*boards: tuple[str, list[Row]]) -> bytes:
    return json.dumps(
        {"M": [{"H": "marketsHub", "M": method, "A": [rows]} for method, rows in boards]}
    ).encode()


class Reads:
    """Counts the rows that are read."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401 - as the one it is for
        self.count += 1
        return READ_ROW(*args, **more)


READ_ROW = read_row


@pytest.fixture
def reads() -> Any:  # noqa: ANN401 - a generator
    counted = Reads()
    with patch.object(frame_reader, "read_row", counted):
        yield counted


def test_row_is_not_read_again_when_only_its_timestamp_changes(reads: Reads) -> None:
    reader = FrameReader()
    read = []
    for second in range(3):
        timestamp = f"2023-08-01T13:20:{20 + second}"
        rows = [
            row("future", LastUpdate=timestamp),
            row("future", ContractID=902, LastUpdate=timestamp),
        ]
        strike = row("strike", _LastUpdate=timestamp) | {"LastUpdate": timestamp}
        read.append(reader.read(push((FUTURES, rows), (OPTIONS, [strike]))))
    assert reads.count == 4
    assert [each.quotes for each in read[1:]] == [read[0].quotes] * 2
    # The age of the board comes from the new timestamp.
    for second, each in enumerate(read):
        at = datetime.fromisoformat(f"2023-08-01T13:20:{20 + second}")
        assert {timestamp for board in each.boards for timestamp in board.pushed_at} == {at}
        assert each.clock == at


def test_changed_row_alone_is_read_again(reads: Reads) -> None:
    reader = FrameReader()
    rows = [row("future", ContractID=901 + n) for n in range(5)]
    reader.read(push((FUTURES, rows)))
    rows[2] = rows[2] | {"TradesCount": 41, "LastUpdate": "2023-08-01T13:20:12"}
    read = reader.read(push((FUTURES, rows[::-1])))
    assert reads.count == 6
    assert [each.payload.aggregate.trade_count for each in read.quotes] == [40, 40, 41, 40, 40]


def test_row_that_returns_after_another_state_is_read_again(reads: Reads) -> None:
    # Of each board the last push is kept, and nothing older.
    reader = FrameReader()
    one, two = row("future", TradesCount=1), row("future", TradesCount=2)
    counts = [
        reader.read(push((FUTURES, [each]))).quotes[0].payload.aggregate.trade_count
        for each in (one, two, one)
    ]
    assert (counts, reads.count) == ([1, 2, 1], 3)


def test_unreadable_row_is_reported_each_time() -> None:
    reader = FrameReader()
    bad = row("future", TradesCount="many")
    lost = row("future", ContractID=902, InitialMargin="much")
    for _ in range(2):
        read = reader.read(push((FUTURES, [bad, lost])))
        assert [each.contract_id for each in read.errors] == ["901"]
        assert [each.contract_id for each in read.lost] == ["902"]


def test_known_receipt_gets_the_present_day() -> None:
    reader = FrameReader()
    days = [date(2023, 8, 1), date(2023, 8, 2)]
    found = [reader.read(push((RECEIPTS, [row("receipt")])), day=day).quotes[0] for day in days]
    assert [each.payload.aggregate.date for each in found] == ["2023-08-01", "2023-08-02"]


def test_late_row_of_known_bytes_is_refused_by_its_timestamp() -> None:
    reader, newest = FrameReader(), NewestBoards()
    late = []
    for second in (20, 30, 25):
        frame = reader.read(
            push((FUTURES, [row("future", LastUpdate=f"2023-08-01T13:20:{second}")])), latest=NOON
        )
        late.append(len(newest.take(frame, NOON + MAX_AHEAD).late))
    assert late == [0, 0, 1]


def test_timestamp_of_another_form_is_compared_with_the_rest() -> None:
    reader = FrameReader()
    for timestamp in ("2023-08-01T13:20:20", None, ["2023-08-01T13:20:21"], "soon", ""):
        made = push((FUTURES, [row("future", LastUpdate=timestamp)]))
        assert reader.read(made) == read_frame(made)


@each_row(
    ("raw", "body", "timestamps"),
    [
        (b'{"a":1}', b'{"a":1}', {}),
        (b'{"LastUpdate":"12:00","a":1}', b'{"LastUpdate":"","a":1}', {"LastUpdate": "12:00"}),
        (b'{"_LastUpdate" : "1"}', b'{"_LastUpdate" : ""}', {"_LastUpdate": "1"}),
        (b'{"MyLastUpdate":"1"}', b'{"MyLastUpdate":"1"}', {}),
        (b'{"a":"LastUpdate","b":"1"}', b'{"a":"LastUpdate","b":"1"}', {}),
        (b'{"a":"\\"LastUpdate\\":\\"1\\""}', b'{"a":"\\"LastUpdate\\":\\"1\\""}', {}),
        (b'{"LastUpdate":null}', b'{"LastUpdate":null}', {}),
        (b'{"LastUpdate":"\\u0031"}', b'{"LastUpdate":"\\u0031"}', {}),
        (b'{"LastUpdate":"1', b'{"LastUpdate":"1', {}),
        (
            b'{"LastUpdate":"1","_LastUpdate":"2"}',
            b'{"LastUpdate":"","_LastUpdate":""}',
            {"LastUpdate": "1", "_LastUpdate": "2"},
        ),
    ],
)
def test_timestamps_are_cut_out_of_a_row(
    raw: bytes, body: bytes, timestamps: dict[str, str]
) -> None:
    assert cut(raw) == (body, timestamps)


TIMES = st.datetimes(NOON - timedelta(days=1, hours=12), NOON + timedelta(hours=12)).map(
    lambda at: at.isoformat(timespec="seconds")
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "LastUpdate": TIMES,
        "OrdersDateTime": TIMES,
        "LastTradedPriceTime": TIMES.map(lambda text: text[11:]) | st.just(""),
        "TradesCount": st.sampled_from([1, 2, "x"]),
        "InitialMargin": st.sampled_from([1, "much"]),
        "ContractCode": st.sampled_from(["SAFMO02", "SAFME02"]),
    },
)


@settings(max_examples=3 * settings().max_examples)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([FUTURES, CDC, RECEIPTS]),
            st.lists(st.tuples(st.sampled_from([901, 902]), CHANGES), max_size=3),
            TIMES,
        ),
        max_size=8,
    )
)
def test_reader_that_remembers_reads_as_one_that_does_not(
    pushes: list[tuple[str, list[tuple[int, Row]], str]],
) -> None:
    reader = FrameReader()
    for method, changes, now in pushes:
        made = [
            row(KINDS[method])
            | {field: value for field, value in each.items() if field in row(KINDS[method])}
            | {"ID" if method == RECEIPTS else "ContractID": contract}
            for contract, each in changes
        ]
        frame = push((method, made))
        latest = datetime.fromisoformat(now)
        found = reader.read(frame, day=latest.date(), latest=latest)
        assert found == read_frame(frame, day=latest.date(), latest=latest)
