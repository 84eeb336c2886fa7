"""Frames: which boards are read, days and clocks, what is refused, and frames that are none."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ime_live.contracts import Market, read_contract
from ime_live.errors import FeedError
from ime_live.feeds.boards.frame import Frame
from ime_live.feeds.boards.rows import Quote
from ime_live.market_json import read_payload
from tests.support.board_frames import read_frame
from tests.support.boards import Row, row, without
from tests.support.rows import each_row

FUTURES = "updateFutureMarketsInfo"
OPTIONS = "updateMarketsInfo"
CDC = "updateCDCMarketsInfo"
GAVAHI = "updateGavahiMarketsInfo"
CLOCK = "updateFutureDateTime"
CLOCK_TEXT = "یکشنبه ۱۷ بهمن ۱۴۰۰  -  ۱۳:۲۶:۰۵"
CLOCK_DAY = date(2022, 2, 6)

FILES = {FUTURES: "future", OPTIONS: "strike", CDC: "certificate", GAVAHI: "receipt"}

at = datetime.fromisoformat  # Tehran's wall clock, without offset


def frame(*messages: tuple[str, object]) -> dict[str, Any]:
    return {
        "C": "d-1,2|3,4",
        "M": [{"H": "marketsHub", "M": method, "A": [content]} for method, content in messages],
    }


def quotes(*messages: tuple[str, object], **options: Any) -> tuple[Quote, ...]:  # noqa: ANN401
    read = read_frame(frame(*messages), **options)
    assert read.errors == ()
    return read.quotes


def quote(method: str, made: Row, **options: Any) -> Quote:  # noqa: ANN401
    (only,) = quotes((method, [made]), **options)
    return only


def refusal(method: str, made: object, **options: Any) -> str:  # noqa: ANN401
    read = read_frame(frame((method, [made])), **options)
    assert read.quotes == ()
    return str(read.errors[0])


def test_every_kind_of_row_is_read_in_the_frames_order() -> None:
    rows = [(method, [row(name)]) for method, name in FILES.items()]
    names = [each.contract.contract_name for each in quotes(*rows, ("updateAllMarketData", {}))]
    assert names == ["SAFMO02", "KASH02C250", "KASH02P250", "CD1XYZ0001", "سكه9912پ03"]


def test_morning_clock_of_another_board_keeps_a_certificate_from_the_afternoon() -> None:
    night = row("certificate", LastTradedPriceTime="", OrdersDateTime="2024-11-18T01:00:01")
    (alone,) = quotes((CDC, [night]))
    assert alone.payload.aggregate.time == "13:00:01"
    found = quotes((CDC, [night]), (CLOCK, "دوشنبه ۲۸ آبان ۱۴۰۳  -  ۰۸:۴۰:۰۰"))
    assert found[0].payload.aggregate.time == "01:00:01"
    pushed = quotes((CDC, [night]), (FUTURES, [row("future", LastUpdate="2024-11-18T08:40:00")]))
    assert pushed[0].payload.aggregate.time == "01:00:01"


@pytest.mark.parametrize(
    ("board", "market"),
    [
        ("updateSandoqMarketsInfo", Market.FUND),
        ("updateSalafMarketsInfo", Market.PARALLEL_SALAF),
    ],
)
def test_funds_and_salaf_are_read_as_markets_of_their_own(board: str, market: Market) -> None:
    (read,) = quotes((board, [row("receipt")]), day=CLOCK_DAY)
    assert read.contract.market is market
    assert read.payload.aggregate.total_value == 110_501_114_200
    assert quotes((board, [row("receipt")]), day=CLOCK_DAY, boards={GAVAHI}) == ()


def test_ids_keep_all_their_digits() -> None:
    as_number = frame((GAVAHI, [row("receipt", ID=57675016001659793)]))
    (only,) = read_frame(json.dumps(as_number), day=CLOCK_DAY).quotes
    assert only.contract.contract_id == "57675016001659793"
    as_float = row("receipt", ID=5.7675016001659793e16)
    assert refusal(GAVAHI, as_float, day=CLOCK_DAY).startswith(f"{GAVAHI}[0]: ID: is not an id")


def test_options_are_read_with_and_without_the_underscore() -> None:
    plain = {field.removeprefix("_"): value for field, value in row("strike").items()}
    spelled = quotes((OPTIONS, [row("strike")]))
    assert quotes((OPTIONS, [plain])) == spelled
    # Where both are there, the underscore counts.
    assert quotes((OPTIONS, [row("strike") | plain | {"CallLastTradedPrice": 1.0}])) == spelled


def test_strike_may_have_one_side_only() -> None:
    alone = row("strike", _PutContractID=None, _PutContractCode=None)
    assert [q.contract.option_type for q in quotes((OPTIONS, [alone]))] == ["call"]


# Rows that cannot be read


def test_bad_row_loses_only_itself() -> None:
    bad = row("future", ContractID=902, TradesCount="many")
    read = read_frame(frame((FUTURES, [row("future"), bad, row("future", ContractID=903)])))
    assert [q.contract.contract_id for q in read.quotes] == ["901", "903"]
    (error,) = read.errors
    assert (error.board, error.index, error.contract_id) == (FUTURES, 1, "902")
    assert str(error) == f"{FUTURES}[1], contract 902: TradesCount: is not a number, got 'many'"


def test_bad_side_of_a_strike_loses_only_itself() -> None:
    read = read_frame(frame((OPTIONS, [row("strike", _CallBidPrice2=-1.0)])))
    assert [q.contract.option_type for q in read.quotes] == ["put"]
    assert [error.contract_id for error in read.errors] == ["1009001"]


@each_row(("made", "shown"), [(None, "null"), (5, "5"), ("row", "'row'"), (True, "true")])
def test_row_that_is_no_object_loses_only_itself(made: object, shown: str) -> None:
    assert refusal(FUTURES, made) == f"{FUTURES}[0]: the row is not an object, got {shown}"


@each_row("content", [{"a": 1}, 5, "rows", {"a": 1, "b": [2], "c": [3]}])
def test_board_that_is_no_list_loses_only_itself(content: object) -> None:
    read = read_frame(frame((OPTIONS, content), (FUTURES, [row("future")])))
    assert len(read.quotes) == 1
    assert {error.board for error in read.errors} == {OPTIONS}


FUTURE_ROWS = [row("future"), row("future", ContractID=902)]


@each_row(
    "arguments",
    [
        [FUTURE_ROWS],
        FUTURE_ROWS,
        [[FUTURE_ROWS[0], [FUTURE_ROWS[1]]]],
        [json.dumps(FUTURE_ROWS)],
        [[json.dumps(each) for each in FUTURE_ROWS]],
        [{"rows": FUTURE_ROWS, "count": 2}],
        [None, FUTURE_ROWS],
    ],
)
def test_board_in_another_wrapping_is_read(arguments: list[object]) -> None:
    made = {"M": [{"H": "marketsHub", "M": FUTURES, "A": arguments}]}
    for raw in (made, json.dumps(made), json.dumps(made, ensure_ascii=False).encode()):
        read = read_frame(raw)
        assert read.errors == ()
        assert [each.contract.contract_id for each in read.quotes] == ["901", "902"]


def test_empty_board_in_another_wrapping_is_empty() -> None:
    read = read_frame(frame((FUTURES, {"rows": [], "count": 0})))
    assert [(each.method, each.quotes, each.errors) for each in read.boards] == [(FUTURES, (), ())]


@each_row("content", [CLOCK_TEXT, [CLOCK_TEXT], {"time": CLOCK_TEXT}, json.dumps(CLOCK_TEXT)])
def test_clock_in_another_wrapping_is_read(content: object) -> None:
    for raw in (frame((CLOCK, content)), json.dumps(frame((CLOCK, content)))):
        read = read_frame(raw)
        assert (read.exchange_time, read.errors) == (at("2022-02-06T13:26:05"), ())


def test_row_of_bytes_that_are_no_text_loses_only_itself() -> None:
    good = json.dumps(row("future")).encode()
    read = read_frame(
        b'{"M":[{"M":"%b","A":[[{"ContractID":"\xff"},%b]]}]}' % (FUTURES.encode(), good)
    )
    assert len(read.quotes) == 1
    assert "the row is not JSON" in str(read.errors[0])


# Messages


def test_call_that_cannot_be_read_loses_only_itself() -> None:
    calls = [{"M": FUTURES}, {"M": CLOCK, "A": ["soon"]}, 7]
    read = read_frame({"M": [*calls, *frame((FUTURES, [row("future")]))["M"]]})
    assert [each.contract.contract_id for each in read.quotes] == ["901"]
    assert [error.reason for error in read.errors] == [
        "A: must be a list of arguments, and is missing",
        "A: is not a clock, got 'soon'",
        "the message must be an object, got 7",
    ]


@each_row("spelled", [str.upper, str.lower, str.swapcase])
def test_names_are_compared_without_regard_to_case(spelled: Callable[[str], str]) -> None:
    made = frame((FUTURES, [row("future")]), (CLOCK, CLOCK_TEXT))
    for message in made["M"]:
        message |= {"H": spelled(message["H"]), "M": spelled(message["M"])}
    for raw in (made, json.dumps(made)):
        read = read_frame(raw)
        assert [board.method for board in read.boards] == [FUTURES]
        assert read.quotes[0].contract.board == FUTURES
        assert read.exchange_time == at("2022-02-06T13:26:05")
        assert read.unknown == ()


def test_unknown_hubs_and_methods_are_reported_and_ignored() -> None:
    made = frame((FUTURES, [row("future")]), ("somethingNew", []), ("updateAllMarketData", {}))
    made["M"].append({"H": "otherHub", "M": FUTURES, "A": [[row("future", ContractID=902)]]})
    made["M"].append({"H": "marketsHub", "M": "newToo"})
    read = read_frame(json.dumps(made))
    assert read.unknown == ("somethingNew", f"otherHub.{FUTURES}", "newToo")
    assert [each.contract.contract_id for each in read.quotes] == ["901"]
    assert read.errors == ()


def test_receipt_needs_a_date() -> None:
    reason = "is a time, and the frame does not have its day"
    assert reason in refusal(GAVAHI, row("receipt"))


# Days and clocks


def test_date_of_the_frame_precedes_that_of_the_caller() -> None:
    read = read_frame(frame((GAVAHI, [row("receipt")]), (CLOCK, CLOCK_TEXT)), day=date(2030, 1, 1))
    assert read.day == CLOCK_DAY
    assert read.clock == at("2022-02-06T13:26:05")


def test_day_is_that_of_most_rows() -> None:
    futures = [row("future"), row("future"), row("future", LastUpdate="2031-01-01T00:00:00")]
    read = read_frame(frame((GAVAHI, [row("receipt")]), (FUTURES, futures)))
    assert read.day == date(2023, 8, 1)
    assert read.quotes[0].payload.aggregate.date == "2023-08-01"


def test_frame_reports_whether_it_has_a_day() -> None:
    receipts = read_frame(frame((GAVAHI, [row("receipt")])), day=CLOCK_DAY)
    assert (receipts.day, receipts.has_day) == (CLOCK_DAY, False)
    for found in ((CLOCK, CLOCK_TEXT), (FUTURES, [row("future")])):
        assert read_frame(frame(found), boards={GAVAHI}).has_day


def test_day_is_that_of_the_last_board_of_each_kind() -> None:
    # Rows that waited over midnight come in one frame.
    evening, night = "2023-08-01T23:59:59", "2023-08-02T00:00:01"
    boards = [(FUTURES, [row("future", LastUpdate=each)]) for each in (evening, evening, night)]
    assert read_frame(frame(*boards)).day == date(2023, 8, 2)
    later = CLOCK_TEXT.replace("۱۷", "۱۸")
    read = read_frame(frame((CLOCK, CLOCK_TEXT), (CLOCK, later)))
    assert (read.day, read.exchange_time) == (date(2022, 2, 7), at("2022-02-07T13:26:05"))


def test_timestamps_in_the_future_set_no_day() -> None:
    now = at("2022-02-06T13:25:51")
    tomorrow = CLOCK_TEXT.replace("۱۷", "۱۸")
    wrong = (CLOCK, tomorrow), (FUTURES, [row("future", LastUpdate="2031-01-01T00:00:00")])
    read = read_frame(frame(*wrong, (GAVAHI, [row("receipt")])), day=CLOCK_DAY, latest=now)
    assert (read.day, read.has_day) == (CLOCK_DAY, False)
    assert read.exchange_time == at("2022-02-07T13:26:05")
    assert read.quotes[-1].payload.aggregate.date == "2022-02-06"


def test_boards_of_a_frame_are_distinguished() -> None:
    bad = row("future", ContractID=902, TradesCount="many")
    boards = [(FUTURES, [row("future"), bad]), (OPTIONS, []), (FUTURES, [row("future")])]
    read = read_frame(frame(*boards))
    assert [each.method for each in read.boards] == [FUTURES, OPTIONS, FUTURES]
    assert [len(each.quotes) for each in read.boards] == [1, 0, 1]
    assert [len(each.errors) for each in read.boards] == [1, 0, 0]
    assert read.boards[0].pushed_at == (at("2023-08-01T13:20:11.257000"),)


def test_clock_of_a_frame_is_its_latest_timestamp() -> None:
    assert read_frame(frame((FUTURES, [row("future")]))).clock == at("2023-08-01T13:20:11.257000")
    receipts = read_frame(frame((GAVAHI, [row("receipt")])), day=CLOCK_DAY)
    assert receipts.clock == at("2022-02-06T13:25:51")


# Frames


@each_row(
    "empty",
    [
        b"{}",
        '{"C":"x","S":1,"M":[]}',
        {"R": 1, "I": "0"},
        frame((FUTURES, []), (OPTIONS, []), (GAVAHI, [])),
        frame((CLOCK, None), (FUTURES, None)),
        frame((CLOCK, "")),
        frame(("updateAllMarketData", {"id": 1, "TradeCount": 3})),
        frame(("somethingNew", [{"ContractID": 1}])),
        {"M": [{"M": FUTURES, "A": []}]},
    ],
)
def test_frames_without_rows_are_empty(empty: bytes | str | dict[str, Any]) -> None:
    said = read_frame(empty)
    assert (said.quotes, said.errors, said.day, said.clock) == ((), (), None, None)


@each_row(
    "wrong",
    [
        b"",
        b"<html>",
        b"\xff\xfe\xfd",
        "[]",
        "7",
        "null",
        "[" * 100_000,
        '{"M": {}}',
        '{"M": 7}',
        '{"M": "rows"}',
    ],
)
def test_malformed_frame_is_refused(wrong: bytes | str) -> None:
    with pytest.raises(FeedError):
        read_frame(wrong)


@each_row("literal", ["NaN", "1e400", "-Infinity"])
def test_number_outside_json_loses_only_its_row(literal: str) -> None:
    good = json.dumps(row("future"))
    bad = good.replace("699200.0", literal)
    assert bad != good
    read = read_frame(f'{{"M":[{{"M":"{FUTURES}","A":[[{bad},{good}]]}}]}}')
    assert len(read.quotes) == len(read.errors) == 1
    assert "LastTradedPrice: is " in read.errors[0].reason


# Any input

TEXTS = st.text() | st.text(string.digits + ":-T/.", max_size=24)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    st.floats(0, 10**9),
    TEXTS,
    st.dates().map(str),
    st.datetimes().map(datetime.isoformat),
    st.times().map(str),
    st.sampled_from([10**400, "\ud800", "0001-01-01T00:00:00", "1400/12/30", CLOCK_TEXT]),
    st.lists(st.none(), max_size=1),
)


@st.composite
def broken(draw: st.DrawFn) -> tuple[str, Row]:
    """A row of any board with any of its fields missing, null or anything else."""
    method = draw(st.sampled_from(sorted(FILES)))
    made = row(FILES[method])
    fields = st.lists(st.sampled_from(sorted(made)), max_size=6)
    made |= dict.fromkeys(draw(fields))
    made |= {field: draw(VALUES) for field in draw(fields)}
    return method, without(made, *draw(st.lists(st.sampled_from(sorted(made)), max_size=2)))


def assert_whole(read: Frame) -> None:
    for each in read.quotes:
        assert read_payload(each.payload.to_json()) == each.payload
        assert read_contract(each.contract.to_json()) == each.contract
        date.fromisoformat(each.payload.aggregate.date)
        datetime.strptime(each.payload.aggregate.time, "%H:%M:%S")  # noqa: DTZ007
        prices = each.payload.allowed_price_range
        assert 1 <= prices.min_allowed_price <= prices.max_allowed_price
    for error in read.errors:
        assert str(error)


@settings(
    max_examples=6 * settings().max_examples,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.lists(broken(), min_size=1, max_size=3), st.none() | st.dates())
def test_any_row_leaves_the_rest_of_its_board(
    made: list[tuple[str, Row]], day: date | None
) -> None:
    boards = [(method, [each]) for method, each in made]
    read = read_frame(frame(*boards, (FUTURES, [row("future")])), day=day)
    assert_whole(read)
    # The good row is read, whatever stood beside it.
    assert "901" in {each.contract.contract_id for each in read.quotes}


JSON = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["M", "A", "C", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON | st.builds(lambda content: frame((FUTURES, content), (CLOCK, content)), JSON))
def test_any_json_is_a_frame_or_a_feed_error(made: Any) -> None:  # noqa: ANN401
    with suppress(FeedError):
        assert_whole(read_frame(made))


@given(st.binary() | st.text())
def test_any_bytes_are_a_frame_or_a_feed_error(raw: bytes | str) -> None:
    with suppress(FeedError):
        read_frame(raw)
