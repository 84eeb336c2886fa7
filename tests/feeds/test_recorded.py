"""Recorded frames of the SignalR hub: values worked out by hand, and what must hold for all.

They are no part of the repository; without them these tests are skipped.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, datetime

import pytest

from ime_live.contracts import Market, read_contract
from ime_live.feeds.boards.field_map import BOARDS
from ime_live.feeds.boards.frame import Frame
from ime_live.feeds.boards.rows import Quote
from ime_live.market import Aggregate, BestLimit, ContractInfo, Level
from ime_live.market_json import read_payload
from tests.support.board_frames import read_frame
from tests.support.paths import CAPTURE
from tests.support.rows import each_row

NOTHING = Level(0, 0, 0, 0)
at = datetime.fromisoformat  # Tehran's wall clock, without offset

pytestmark = pytest.mark.skipif(not CAPTURE.is_dir(), reason=f"no recorded frames at {CAPTURE}")


def recording(name: str) -> list[Frame]:
    frames: list[Frame] = []
    with (CAPTURE / f"{name}.ndjson").open("rb") as lines:
        for line in lines:
            day = frames[-1].day if frames else None
            frames.append(read_frame(line, day=day, boards=BOARDS))
    return frames


def of(contract_id: str, read: Sequence[Quote]) -> Quote:
    return next(each for each in read if each.contract.contract_id == contract_id)


@each_row(
    ("name", "rows"),
    [
        ("1400-11-15T14", [0, 8]),
        ("1400-11-17T13", [32, 8, 36, 8, 24]),
        ("1400-11-17T19", [14, 24, 15, 8, 14]),
        ("1400-11-18T1415", [92]),
        ("1400-11-18T1430", [92]),
    ],
)
def test_every_recorded_row_is_read(name: str, rows: list[int]) -> None:
    frames = recording(name)
    assert [len(read.quotes) for read in frames] == rows
    for read in frames:
        assert read.errors == ()
        for each in read.quotes:
            assert read_payload(each.payload.to_json()) == each.payload
            assert read_contract(each.contract.to_json()) == each.contract


def test_recorded_options_know_their_underlying() -> None:
    options = [each.contract for each in recording("1400-11-17T19")[0].quotes]
    assert {
        (each.contract_name[:4], each.underlying_id, each.underlying_name) for each in options
    } == {("GCOR", "GC", "سکه طلا"), ("SFOR", "SAF", "زعفران نگین")}
    # By underlying and strike price each call has its put.
    sides = {(each.underlying_id, each.strike_price, each.option_type) for each in options}
    assert len(sides) == len(options) == 14


def test_recorded_futures_have_settlements_and_price_limits() -> None:
    [frame] = recording("1400-11-18T1415")
    saffron, silver = of("203", frame.quotes).contract, of("204", frame.quotes).contract
    assert (saffron.settlement_price, saffron.settlement_date) == (383_522, date(2022, 2, 6))
    assert saffron.today_settlement is not None
    assert (saffron.csize, saffron.csize_unit, saffron.price_limit_rule) == (
        100,
        "گرم",
        "SAF=0.05",
    )
    assert silver.settlement_date is None  # never settled so far


def test_recorded_funds_and_salaf_are_in_markets_of_their_own() -> None:
    counts = Counter(each.contract.market for each in recording("1400-11-18T1415")[0].quotes)
    assert counts == {
        Market.FUTURES: 9,
        Market.OPTION: 14,
        Market.DEPOSIT_CERTIFICATE: 56,
        Market.FUND: 10,
        Market.PARALLEL_SALAF: 3,
    }


def test_recorded_holiday_has_an_empty_board() -> None:
    empty, futures = recording("1400-11-15T14")
    assert empty.quotes == ()
    assert empty.clock == at("2022-02-03T20:00:00")  # the exchange's clock stands still
    only = of("193", futures.quotes)
    assert only.contract.expiration_date == date(2022, 2, 9)
    assert only.payload.best_limit == BestLimit(NOTHING, NOTHING, NOTHING)
    aggregate = only.payload.aggregate
    assert (aggregate.date, aggregate.time) == ("2022-02-03", "15:00:31")
    assert (aggregate.total_value, aggregate.closing_price) == (5_861_300_000, 83_738.0952)
    assert only.payload.contract_info == ContractInfo(772, -61)


def test_recorded_receipt_is_read() -> None:
    only = of("6183017539978894", recording("1400-11-17T13")[0].quotes)
    assert only.contract.contract_name == "سكه0012پ01"
    assert only.payload.best_limit.first == Level(300, 1_163_100, 200, 1_166_000)
    aggregate = only.payload.aggregate
    assert (aggregate.date, aggregate.time) == ("2022-02-06", "13:25:51")
    assert (aggregate.total_value, aggregate.total_volume) == (110_501_114_200, 95_600)
    assert aggregate.closing_price == 1_155_869


def test_recorded_options_are_read() -> None:
    options = recording("1400-11-17T19")[0].quotes
    call, put = of("1000463", options), of("1000466", options)
    assert call.contract.contract_name == "GCOR01C11000"
    assert call.contract.strike_price == put.contract.strike_price == 110_000_000
    assert call.contract.expiration_date == date(2022, 5, 17)
    assert call.contract.required_margin == 37_791_508
    assert call.payload.aggregate == Aggregate(
        date="2022-02-06",
        time="14:53:23",
        trade_count=9,
        total_volume=12,
        total_value=171_100_000,
        closing_price=14_400_000,
        last_price=14_400_000,
        low_price=12_800_000,
        high_price=14_400_000,
        open_price=12_800_000,
        previous_close=14_549_007,
    )
    assert put.payload.aggregate == Aggregate(
        "2022-02-06", "14:30:58", 0, 0, 0, 0, 0, 0, 0, 0, 1_391_130
    )
    assert put.payload.contract_info == ContractInfo(62, 0)
    assert (call.contract.settlement_price, call.contract.settlement_date) == (
        14_549_007,
        date(2022, 2, 5),
    )
    assert (call.contract.csize_unit, call.contract.price_limit_rule) == ("سکه تمام", None)
    untouched = of("1000469", options).payload.aggregate
    assert (untouched.date, untouched.time) == ("2022-02-06", "00:00:00")


def test_second_changes_one_or_two_of_eight_recorded_futures() -> None:
    first, second, *_ = recording("1400-11-17T13")
    assert first.clock is not None
    assert second.clock is not None
    assert (second.clock - first.clock).total_seconds() == pytest.approx(0.94)
    before = {q.contract.contract_id: q for q in first.quotes}
    after = {q.contract.contract_id: q for q in second.quotes}
    assert len(after) == 8
    changed = [id_ for id_, each in after.items() if each.payload != before[id_].payload]
    assert changed == ["201", "203"]
    assert all(each.contract == before[id_].contract for id_, each in after.items())


def test_recorded_values_are_in_thousand_rials_and_prices_are_not() -> None:
    # Value over quantity is a price between the day's lowest and highest.
    checked = 0
    for name in ("1400-11-15T14", "1400-11-17T13", "1400-11-17T19", "1400-11-18T1415"):
        for read in recording(name):
            for each in read.quotes:
                day = each.payload.aggregate
                if day.total_volume and each.contract.market is not Market.OPTION:
                    price = day.total_value / day.total_volume / (each.contract.csize or 1)
                    assert day.low_price - 1 <= price <= day.high_price + 1
                    checked += 1
    assert checked > 150


def test_recorded_trades_are_inside_the_allowed_range() -> None:
    for name in ("1400-11-15T14", "1400-11-17T13", "1400-11-18T1415"):
        for read in recording(name):
            for each in read.quotes:
                prices, day = each.payload.allowed_price_range, each.payload.aggregate
                if day.trade_count:
                    assert prices.min_allowed_price <= day.low_price
                    assert day.high_price <= prices.max_allowed_price


def test_recorded_board_is_read_in_few_times_the_time_of_its_json() -> None:
    line = (CAPTURE / "1400-11-18T1415.ndjson").read_bytes()
    # 5 times where this was written, for 92 contracts; ten times that is a mistake.
    assert _cpu_seconds(lambda: read_frame(line)) < 50 * _cpu_seconds(lambda: json.loads(line))


def _cpu_seconds(call: Callable[[], object]) -> float:
    """The least of five calls."""
    durations = []
    for _ in range(5):
        began = time.thread_time()
        call()
        durations.append(time.thread_time() - began)
    return min(durations)
