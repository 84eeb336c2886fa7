"""Newest boards: the last row of a contract counts, late rows do not; absence is counted."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ime_live.contracts import Contract, Market
from ime_live.feeds.boards.frame import Frame
from ime_live.feeds.boards.newest import DELISTED_AFTER, FrameChanges, NewestBoards
from ime_live.feeds.boards.rows import MAX_AHEAD
from tests.support.board_frames import read_frame
from tests.support.boards import board, row
from tests.support.rows import each_row

FUTURES, OPTIONS = "updateFutureMarketsInfo", "updateMarketsInfo"
CDC, RECEIPTS = "updateCDCMarketsInfo", "updateGavahiMarketsInfo"
NOW = datetime.fromisoformat("2023-08-01T13:20:11")
LATEST = NOW + MAX_AHEAD


def future(number: int, price: float = 1.0, ago: float = 0.0, **fields: object) -> dict[str, Any]:
    timestamp = (NOW - timedelta(seconds=ago)).isoformat()
    return row(
        "future",
        ContractID=number,
        ContractCode=f"X{number}",
        LastTradedPrice=price,
        LastUpdate=timestamp,
        **fields,
    )


def strike(call: int, put: int, price: float) -> dict[str, Any]:
    return row(
        "strike",
        _CallContractID=call,
        _CallContractCode=f"C{call}",
        _PutContractID=put,
        _PutContractCode=f"P{put}",
        _CallLastTradedPrice=price,
        _PutLastTradedPrice=price,
    )


def frame(*boards: dict[str, Any]) -> Frame:
    return read_frame({"M": list(boards)})


def futures(*rows: dict[str, Any]) -> dict[str, Any]:
    return board(FUTURES, *rows)


def prices(changes: FrameChanges | NewestBoards) -> dict[str, float]:
    quotes = changes.quotes if isinstance(changes, FrameChanges) else changes.quotes()
    return {i: quote.payload.aggregate.last_price for i, quote in quotes.items()}


# The last one counts


def test_last_board_of_a_kind_counts() -> None:
    newest = NewestBoards()
    changes = newest.take(frame(futures(future(1, 2.0)), futures(future(1, 1.0))))
    assert prices(changes) == prices(newest) == {"1": 1.0}


def test_last_row_of_a_board_counts() -> None:
    changes = NewestBoards().take(frame(futures(future(1, 2.0), future(1, 3.0), future(1, 1.0))))
    assert prices(changes) == {"1": 1.0}


def test_last_side_of_a_strike_counts_call_or_put() -> None:
    rows = strike(1, 2, 5.0), strike(3, 1, 6.0), strike(2, 4, 7.0)
    changes = NewestBoards().take(frame(board(OPTIONS, *rows)))
    assert prices(changes) == {"1": 6.0, "2": 7.0, "3": 6.0, "4": 7.0}
    assert (changes.contracts["1"].option_type, changes.contracts["2"].option_type) == (
        "put",
        "call",
    )


@pytest.mark.parametrize("last", [FUTURES, CDC])
def test_last_board_counts_of_a_contract_on_two_boards(last: str) -> None:
    boards = {
        FUTURES: futures(future(77, 1.0)),
        CDC: board(CDC, row("certificate", LastTradedPrice=2.0)),
    }
    in_order = sorted(boards.values(), key=lambda each: each["M"] == last)
    newest = NewestBoards()
    changes = newest.take(frame(*in_order))
    assert prices(changes) == prices(newest) == {"77": 1.0 if last == FUTURES else 2.0}
    assert changes.contracts["77"].board == last


def test_board_that_came_last_counts_of_a_contract_on_two_boards() -> None:
    newest = NewestBoards()
    for price, method in enumerate((FUTURES, CDC, FUTURES), 1):
        made = (
            future(77, price)
            if method == FUTURES
            else row("certificate", LastTradedPrice=float(price))
        )
        newest.take(frame(board(method, made)))
        assert prices(newest) == {"77": price}


def test_last_record_of_a_contract_counts() -> None:
    first, second = future(1), future(1) | {"ContractCode": "Renamed"}
    changes = NewestBoards().take(frame(futures(second), futures(first, second, first)))
    assert changes.contracts["1"].contract_name == "X1"


def test_unreadable_last_row_leaves_the_one_before_it() -> None:
    bad = future(1) | {"LastTradedPrice": "?"}
    changes = NewestBoards().take(frame(futures(future(1, 1.0)), futures(bad)))
    assert prices(changes) == {"1": 1.0}


# Absence


def marked(changes: FrameChanges) -> set[str]:
    return {i for i, contract in changes.contracts.items() if contract.delisted}


def test_boards_of_one_frame_count_for_absence_one_by_one() -> None:
    newest = NewestBoards()
    newest.take(frame(futures(future(1), future(2))))
    without = futures(future(2))
    assert not marked(newest.take(frame(*[without] * (DELISTED_AFTER - 1))))
    assert marked(newest.take(frame(without))) == {"1"}

    newest.take(frame(futures(future(1), future(2))))
    assert marked(newest.take(frame(*[without] * DELISTED_AFTER))) == {"1"}


def test_contract_of_the_last_board_of_a_frame_is_listed() -> None:
    newest = NewestBoards()
    whole, without = futures(future(1), future(2)), futures(future(2))
    assert not marked(newest.take(frame(whole, *[without] * DELISTED_AFTER, whole)))
    for _ in range(DELISTED_AFTER - 1):
        assert not marked(newest.take(frame(without)))


def test_absence_counts_where_an_earlier_board_of_the_frame_has_the_contract() -> None:
    newest = NewestBoards()
    whole, without = futures(future(1), future(2)), futures(future(2))
    for _ in range(DELISTED_AFTER):
        changes = newest.take(frame(whole, without))
        assert not marked(changes)  # it was there between: never absent twice in a row
        assert prices(newest) == {"2": 1.0}
    newest.take(frame(without))
    assert marked(newest.take(frame(without))) == {"1"}


def test_late_board_does_not_count_for_absence() -> None:
    newest = NewestBoards()
    newest.take(frame(futures(future(1), future(2))), LATEST)
    for _ in range(2 * DELISTED_AFTER):
        changes = newest.take(frame(futures(future(2, ago=5))), LATEST)
        assert not marked(changes)
    assert prices(newest).keys() == {"1", "2"}


@pytest.mark.parametrize("unreadable", [{"ContractID": "?"}, {"ContractID": None}])
def test_board_with_a_row_of_an_unknown_contract_does_not_count_for_absence(
    unreadable: dict[str, object],
) -> None:
    newest = NewestBoards()
    newest.take(frame(futures(future(1), future(2))))
    for _ in range(2 * DELISTED_AFTER):
        changes = newest.take(frame(futures(future(2), future(1) | unreadable)))
        assert not marked(changes)
    assert prices(newest).keys() == {"1", "2"}


BOARDS = st.lists(
    st.tuples(
        st.sampled_from([FUTURES, CDC]),
        st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 3)), max_size=4),
    ),
    min_size=1,
    max_size=8,
)


@given(BOARDS, st.data())
def test_frame_of_several_boards_equals_frames_of_single_boards(
    made: list[tuple[str, list[tuple[int, int, int]]]], data: st.DataObject
) -> None:
    boards = [
        board(method, *(future(n, price, ago) | {"TotalAsset": 1} for n, price, ago in rows))
        if method == FUTURES
        else board(
            method,
            *(
                row("certificate", ContractID=n, ContractCode=f"X{n}", LastTradedPrice=price)
                | {"LastUpdate": (NOW - timedelta(seconds=ago)).isoformat()}
                for n, price, ago in rows
            ),
        )
        for method, rows in made
    ]
    latest = data.draw(st.sampled_from([None, LATEST]))
    single, joined = NewestBoards(), NewestBoards()
    states: dict[str, float] = {}
    contracts: dict[str, Contract] = {}
    for each in boards:
        changes = single.take(frame(each), latest)
        states |= prices(changes)
        contracts |= changes.contracts
    changes = joined.take(frame(*boards), latest)
    assert prices(changes) == states
    assert changes.contracts == contracts
    assert joined.quotes() == single.quotes()
    assert joined.contracts() == single.contracts()


# Age


def test_older_row_is_late_and_does_not_count() -> None:
    newest = NewestBoards()
    newest.take(frame(futures(future(1, 1.0), future(2, 1.0))), LATEST)
    rows = future(1, 2.0, ago=10, ContractDescription="old"), future(2, 3.0)
    changes = newest.take(frame(futures(*rows)), LATEST)
    assert prices(changes) == {"2": 3.0}
    assert prices(newest) == {"1": 1.0, "2": 3.0}
    assert changes.contracts.keys() == {"2"}
    [late] = changes.late
    assert (late.board, late.contract_id) == (FUTURES, "1")
    assert (late.pushed_at, late.newest) == (NOW - timedelta(seconds=10), NOW)
    assert "contract 1: the row of 2023-08-01 13:20:01 is older than that of" in str(late)


@pytest.mark.parametrize("method", [OPTIONS, CDC])
def test_late_row_of_each_board_with_a_timestamp_is_dropped(method: str) -> None:
    kind, field, price = {
        OPTIONS: ("strike", "_LastUpdate", "_CallLastTradedPrice"),
        CDC: ("certificate", "LastUpdate", "LastTradedPrice"),
    }[method]
    newest = NewestBoards()
    latest = datetime.fromisoformat("2025-01-01")
    new = row(kind, **{price: 1.0, field: "2024-11-18T13:26:07.3"})
    old = row(kind, **{price: 2.0, field: "2024-11-18T13:25:57.3"})
    newest.take(frame(board(method, new)), latest)
    changes = newest.take(frame(board(method, old)), latest)
    assert not changes.quotes
    assert changes.late


def test_age_of_a_certificate_on_a_twelve_hour_clock() -> None:
    newest = NewestBoards()
    latest = datetime.fromisoformat("2025-01-01")
    for timestamp in ("12:59:58", "01:00:03"):
        made = row("certificate", LastUpdate=f"2024-11-18T{timestamp}")
        assert not newest.take(frame(board(CDC, made)), latest).late


def test_rows_of_the_same_timestamp_count_in_their_order() -> None:
    # Seen: two boards of one timestamp, of which the second one has a later order.
    newest = NewestBoards()
    newest.take(frame(futures(future(1, 1.0))), LATEST)
    assert prices(newest.take(frame(futures(future(1, 2.0))), LATEST)) == {"1": 2.0}


def test_rows_without_a_timestamp_count_in_their_order() -> None:
    newest = NewestBoards()
    for price in (3.0, 1.0, 2.0):
        boards = board(RECEIPTS, row("receipt", LastPrice=price))
        changes = newest.take(read_frame({"M": [boards]}, day=NOW.date()), LATEST)
        assert list(prices(changes).values()) == [price]


@each_row("ahead", [11, 3_600, 86_400, 10 * 365 * 86_400])
def test_timestamp_in_the_future_blocks_no_later_row(ahead: int) -> None:
    newest = NewestBoards()
    newest.take(frame(futures(future(1, 1.0, ago=2))), LATEST)
    changes = newest.take(frame(futures(future(1, 2.0, ago=-ahead))), LATEST)
    assert prices(changes) == {"1": 2.0}
    changes = newest.take(frame(futures(future(1, 3.0, ago=1))), LATEST)
    assert prices(changes) == {"1": 3.0}
    assert newest.take(frame(futures(future(1, 4.0, ago=5))), LATEST).late


def test_timestamp_in_the_future_does_not_let_late_rows_pass() -> None:
    newest = NewestBoards()
    for price, ago in ((1.0, 2.0), (2.0, -3_600.0)):
        newest.take(frame(futures(future(1, price, ago))), LATEST)
    assert newest.take(frame(futures(future(1, 3.0, ago=5))), LATEST).late
    assert newest.pushed_at == {"1": NOW - timedelta(seconds=2)}


def test_board_is_accepted_after_a_clock_that_was_ahead() -> None:
    newest = NewestBoards()
    newest.take(frame(futures(future(1, 1.0, ago=-7_200))), LATEST + timedelta(hours=3))
    assert prices(newest.take(frame(futures(future(1, 2.0))), LATEST)) == {"1": 2.0}


def test_timestamps_of_an_earlier_day_are_compared_like_others() -> None:
    # On holidays the timestamps are those of the last session.
    newest = NewestBoards()
    days = 3 * 86_400
    newest.take(frame(futures(future(1, 1.0, ago=days))), LATEST)
    assert prices(newest.take(frame(futures(future(1, 2.0, ago=days))), LATEST)) == {"1": 2.0}
    assert newest.take(frame(futures(future(1, 3.0, ago=days + 1))), LATEST).late


def test_late_rows_of_a_recording_count() -> None:
    newest = NewestBoards()
    for price, ago in ((1.0, 0), (2.0, 10), (3.0, 86_400)):
        changes = newest.take(frame(futures(future(1, price, ago))))
        assert prices(changes) == {"1": price}
        assert not changes.late


# Stored states


def contract(contract_id: str) -> Contract:
    return Contract(
        contract_id=contract_id, contract_name="Old", market=Market.FUTURES, board=FUTURES
    )


def test_stored_state_that_is_newer_keeps_older_rows_out() -> None:
    newest = NewestBoards()
    newest.take(frame(futures(future(1, 1.0, ago=10), future(2, 1.0))), LATEST)
    stored = {"1": NOW - timedelta(seconds=5), "2": NOW - timedelta(seconds=5), "3": NOW}
    newest.restore([], stored, LATEST)
    assert prices(newest) == {"2": 1.0}
    changes = newest.take(frame(futures(future(1, 2.0, ago=6), future(3, 2.0, ago=1))), LATEST)
    assert {late.contract_id for late in changes.late} == {"1", "3"}
    assert prices(newest.take(frame(futures(future(1, 3.0, ago=5))), LATEST)) == {"1": 3.0}


def test_stored_timestamp_in_the_future_blocks_no_row() -> None:
    newest = NewestBoards()
    newest.take(frame(futures(future(1, 2.0))), LATEST)
    newest.restore([], {"1": NOW + timedelta(hours=1)}, LATEST)
    assert prices(newest) == {"1": 2.0}  # it is still ours to publish
    newest = NewestBoards()
    newest.restore([], {"1": NOW + timedelta(hours=1)}, LATEST)
    assert prices(newest.take(frame(futures(future(1, 1.0))), LATEST)) == {"1": 1.0}


def test_contract_on_a_board_is_not_replaced_by_the_registered_one() -> None:
    newest = NewestBoards()
    newest.take(frame(futures(future(1))))
    newest.restore([contract("1"), contract("7")])
    assert newest.contracts()["1"].contract_name == "X1"
    assert "7" not in newest.contracts()  # no change
    for _ in range(DELISTED_AFTER):
        newest.take(frame(futures(future(1))))
    assert newest.contracts()["7"].delisted


# The newest of each kind


def test_newest_board_of_each_kind_is_kept_from_any_frame() -> None:
    newest = NewestBoards()
    newest.take(frame(futures(future(1, 17.0)), board(OPTIONS, strike(5, 6, 1.0))))
    newest.take(frame(futures(future(1, 1.0))))
    newest.take(frame(futures(future(1, 2.0)), board(OPTIONS)))
    assert prices(newest) == {"1": 2.0, "5": 1.0, "6": 1.0}  # an empty board says nothing


def test_unreadable_row_keeps_the_last_state_of_its_contract() -> None:
    newest = NewestBoards()
    newest.take(frame(futures(future(1, 1.0), future(2, 1.0), future(3, 1.0))))
    newest.take(frame(futures(future(1) | {"LastTradedPrice": "?"}, future(2, 2.0))))
    assert prices(newest) == {"1": 1.0, "2": 2.0}
