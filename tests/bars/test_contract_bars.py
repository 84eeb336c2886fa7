"""The rules of bars, one by one: late, repeated, corrected and missed states, and days."""

from __future__ import annotations

import random
from datetime import date, datetime
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from ime_live.bars.contract_bars import MINUTE, ContractBars, TradingDay
from ime_live.bars.trade_state import TradeState, read_last
from ime_live.candles import Candle, Interval
from ime_live.gateway.rest.candles import Span, candles_of
from ime_live.store.bar import Bar
from ime_live.timezones import TEHRAN, zone_of
from tests.feeds.test_recorded import recording
from tests.support.paths import CAPTURE
from tests.support.rows import each_row

DAY, NEXT = date(2026, 11, 28), date(2026, 11, 29)
START = 29_000_000  # minutes since the epoch, where the states below begin


def state(
    at: float,
    price: float,
    volume: float,
    *,
    day: date = DAY,
    **fields: Any,  # noqa: ANN401
) -> TradeState:
    """A state at so many minutes after the start, with as many trades as volume."""
    whole = TradeState(
        round((START + at) * MINUTE),
        day,
        700 + int(at),
        price,
        open=100,
        high=120,
        low=80,
        volume=volume,
        value=volume * 100,
        trades=volume,
    )
    return replace(whole, **fields)


def folded(*states: TradeState) -> ContractBars:
    bars = ContractBars("1")
    for each in states:
        bars.fold(each)
    return bars


def prices(bars: ContractBars) -> list[tuple[int, float, float, float, float, float]]:
    """Minute, open, high, low, close and the day's volume of each bar."""
    return [(b.minute, b.open, b.high, b.low, b.close, b.volume) for b in found(bars)]


def found(bars: ContractBars) -> list[Bar]:
    return [] if bars.today is None else bars.today.bars


def test_bar_has_the_first_highest_lowest_and_last_price_of_its_minute() -> None:
    bars = folded(
        state(0, 100, 1), state(0.2, 105, 2), state(0.4, 95, 4), state(0.6, 99, 5), state(1, 98, 9)
    )
    assert prices(bars) == [(700, 100, 105, 95, 99, 5), (701, 98, 98, 98, 98, 9)]


def test_minute_without_a_trade_has_no_bar() -> None:
    bars = folded(state(0, 100, 1), state(1, 100, 1, bid=7), state(3, 101, 2))
    assert [bar.minute for bar in found(bars)] == [700, 703]
    assert found(bars)[0].bid == 0


def test_orders_of_the_same_minute_change_bid_ask_and_open_interest() -> None:
    [bar] = found(folded(state(0, 100, 1), state(0.5, 100, 1, bid=7, ask=8, open_interest=9)))
    assert (bar.bid, bar.ask, bar.open_interest) == (7, 8, 9)


def test_late_and_repeated_states_change_nothing() -> None:
    bars = folded(state(0, 100, 1), state(1, 101, 2))
    before = prices(bars)
    assert bars.fold(state(0.5, 500, 9)) is None
    assert bars.fold(state(1, 500, 9)) is None
    assert prices(bars) == before


def test_untraded_contract_has_no_bar() -> None:
    assert found(folded(state(0, 0, 0), state(1, 100, 0), state(2, 0, 5))) == []


def test_totals_of_another_day_count_from_zero() -> None:
    bars = folded(state(0, 100, 50), state(900, 101, 3, day=NEXT, minute=700))
    assert bars.today is not None
    assert bars.today.day == NEXT
    assert prices(bars) == [(700, 101, 101, 101, 101, 3)]


def test_state_of_an_older_day_changes_nothing() -> None:
    bars = folded(state(0, 100, 1, day=NEXT))
    assert bars.fold(state(1, 90, 99)) is None
    assert prices(bars) == [(700, 100, 100, 100, 100, 1)]


def test_corrected_totals_are_those_of_the_last_bar() -> None:
    bars = folded(state(0, 100, 10), state(2, 100, 8))
    assert [(bar.minute, bar.volume) for bar in found(bars)] == [(700, 8)]


def test_session_over_midnight_loses_no_trade_and_counts_none_twice() -> None:
    # The trading day is that of the evening until the exchange gives another one.
    bars = folded(
        state(0, 100, 1, minute=1439), state(20, 105, 14, minute=19), state(40, 90, 15, minute=39)
    )
    assert prices(bars) == [(1439, 100, 105, 90, 90, 15)]
    bars.fold(state(60, 95, 2, day=NEXT, minute=59))
    assert prices(bars) == [(59, 95, 95, 95, 95, 2)]
    assert bars.fold(state(61, 95, 16, minute=60)) is None


@each_row("back", [0, 5, 29])
def test_reverted_store_in_a_session_keeps_the_totals(back: int) -> None:
    states = [state(n / 4, 100 + n % 3, n + 1) for n in range(30)]
    bars = folded(*states)
    before = found(bars)
    assert bars.fold(states[back], START + 8, stored=True) is None
    assert found(bars) == before
    for each in states[back + 1 :]:  # published again, with higher versions
        bars.fold(replace(each, version=each.version + 7))
    assert found(bars)[-1].volume == 30
    volumes = [bar.volume for bar in found(bars)]
    assert volumes == sorted(volumes)


def test_totals_reset_before_the_session_change_nothing() -> None:
    bars = folded(state(0, 100, 10), state(2, 0, 0), state(3, 100, 10))
    assert [(bar.minute, bar.volume) for bar in found(bars)] == [(700, 10)]


def test_earlier_minute_of_a_newer_state_does_not_open_a_closed_bar() -> None:
    bars = folded(state(0, 100, 1), state(2, 101, 2), state(3, 102, 3, minute=701))
    assert prices(bars) == [(700, 100, 100, 100, 100, 1), (702, 101, 102, 101, 102, 3)]


def test_trades_that_nobody_saw_are_in_the_bar_in_which_they_were_noticed() -> None:
    bars = folded(state(0, 100, 1))
    bars.fold(state(5, 110, 9), seen_until=START, stored=True)
    first, second = found(bars)
    assert (first.gap, first.volume) == (False, 1)
    assert (second.minute, second.gap, second.volume) == (705, True, 9)
    assert (second.high, second.low) == (120, 80)


def test_break_within_a_minute_leaves_no_gap() -> None:
    bars = folded(state(0, 100, 1))
    bars.fold(state(0.9, 110, 9), seen_until=START, stored=True)
    assert [bar.gap for bar in found(bars)] == [False]


def test_first_bar_of_a_day_that_was_missed_has_the_prices_of_the_day() -> None:
    bars = ContractBars("1")
    bars.fold(state(90, 110, 40), seen_until=0, stored=True)
    [bar] = found(bars)
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (100, 120, 80, 110, 40)
    assert bar.gap


@each_row(
    ("before", "volume", "gap"),
    [
        ([], 40, True),  # the feed was started in the middle of the session
        ([], 1, False),  # a single trade cannot be one that was missed
        ([state(0, 0, 0)], 40, False),  # nothing had been traded until then
        ([state(-900, 100, 9, day=date(2026, 11, 27))], 40, False),
    ],
)
def test_first_message_about_a_contract_may_hold_trades_that_nobody_saw(
    before: list[TradeState], volume: float, gap: bool
) -> None:
    bars = folded(*before, state(90, 110, volume), state(91, 110, volume + 2))
    first, second = found(bars)[-2:]
    assert (first.gap, first.volume, second.gap) == (gap, volume, False)
    assert (first.open, first.high, first.low) == ((100, 120, 80) if gap else (110, 110, 110))
    # Later bars have their own trades only.
    day = DAY
    span = Span(datetime(2026, 11, 28), datetime(2026, 11, 29))  # noqa: DTZ001 - Tehran's clock
    assert candles_of([first, second], day, Interval.MINUTE, span)[1].volume == 2


@each_row(
    ("gaps", "missed"),
    [
        ([], None),
        ([START * MINUTE - 1], None),  # before a state that was seen
        ([START * MINUTE], START),
        ([(START + 3) * MINUTE, START * MINUTE + 1], START),
        ([(START + 5) * MINUTE], None),  # after the newer state
    ],
)
def test_gap_between_two_states_counts_for_the_second(gaps: list[int], missed: int | None) -> None:
    assert folded(state(0, 100, 1)).missed_before((START + 5) * MINUTE, gaps) == missed


def test_reverted_store_neither_stops_nor_doubles_the_bars() -> None:
    bars = folded(state(0, 100, 1), state(1, 100, 5))
    assert bars.fold(state(0, 100, 1), START + 1, stored=True) is None
    bars.fold(state(0.5, 101, 6, minute=701))  # by a clock that is behind
    assert [bar.volume for bar in found(bars)] == [1, 6]


def test_bars_of_a_restart_are_those_without_one() -> None:
    seeded = random.Random(7)
    states, volume = [], 0.0
    for step in range(300):
        volume += seeded.choice([0, 0, 1, 3])
        states.append(state(step / 20, 100 + seeded.randrange(9), volume))
    whole = folded(*states)
    for cut in range(1, 300, 13):
        before = folded(*states[:cut])
        after = ContractBars("1")
        after.adopt(DAY, found(before))
        for each in states[cut - 1 :]:
            after.fold(each)
        assert found(after) == found(whole), cut


def test_joined_bars_are_the_better_ones_of_each_minute() -> None:
    one = folded(state(0, 100, 1), state(1, 101, 2), state(2, 102, 3))
    other = folded(state(2, 102, 2), state(3, 103, 4))
    assert other.today is not None
    found(other)[-1].gap = True
    other.adopt(DAY, found(one))
    assert [(bar.minute, bar.volume) for bar in found(other)] == [
        (700, 1),
        (701, 2),
        (702, 3),
        (703, 4),
    ]


@pytest.mark.parametrize(
    ("ours", "stored", "expected"),
    [((3, True), (2, False), (3, True)), ((3, True), (3, False), (3, False))],
)
def test_joined_bar_has_the_totals_of_the_newer_one_after_a_gap(
    ours: tuple[float, bool], stored: tuple[float, bool], expected: tuple[float, bool]
) -> None:
    day = folded(state(0, 100, ours[0])).today
    assert day is not None
    assert day.last is not None
    day.last.gap = ours[1]
    [other] = found(folded(state(0, 100, stored[0])))
    other.gap = stored[1]
    day.adopt([other])
    assert [(bar.volume, bar.gap) for bar in day.bars] == [expected]


def test_bars_missing_in_the_store_are_written() -> None:
    bars = folded(state(0, 100, 1), state(1, 101, 2))
    day = bars.today
    assert day is not None
    whole = day.to_write()
    assert whole is not None
    assert (whole.stored, whole.first) == (0, 0)
    day.note_written(whole)
    bars.fold(state(2, 102, 3))
    part = day.to_write()
    assert part is not None
    assert (part.stored, part.first, len(part.records)) == (2, 1, len(whole.records))
    day.adopt([])  # the store was emptied
    again = day.to_write()
    assert again is not None
    assert (again.stored, again.first) == (None, 0)


# -- recorded frames, with values worked out by hand ------------------------------------------


RECORDINGS = [
    "1400-11-15T14",
    "1400-11-17T13",
    "1400-11-17T19",
    "1400-11-18T1415",
    "1400-11-18T1430",
]
SAFFRON = "197"


@pytest.mark.skipif(not CAPTURE.is_dir(), reason=f"no recorded frames at {CAPTURE}")
def test_bars_of_recorded_frames_are_those_worked_out_by_hand() -> None:
    zone = zone_of(TEHRAN)
    bars = ContractBars(SAFFRON)
    days: dict[date, TradingDay] = {}
    for name in RECORDINGS:
        for frame in recording(name):
            for quote in (each for board in frame.boards for each in board.quotes):
                if quote.contract.contract_id != SAFFRON:
                    continue
                aggregate = quote.payload.aggregate
                moment = datetime.fromisoformat(f"{aggregate.date}T{aggregate.time}").replace(
                    tzinfo=zone
                )
                version = round(moment.timestamp() * 1_000_000)
                changed = bars.fold(read_last(version, quote.payload.to_json(), zone))
                if changed is not None:
                    days[changed.day] = changed
    span = Span(datetime(2022, 2, 1), datetime(2022, 3, 1))  # noqa: DTZ001 - Tehran's clock
    found = [
        candle
        for day, traded in days.items()
        for candle in candles_of(traded.bars, day, Interval.MINUTE, span)
    ]
    assert found == [
        # The first frame tells of the whole day.
        msgspec.structs.replace(
            candle_of("2022-02-03T15:18:00", 350500, 3032, 106639090000, 1006, 20822, 0, 0),
            open=352900,
            high=353700,
            low=347600,
            gap=True,
        ),
        candle_of("2022-02-06T13:26:00", 325600, 1807, 58680080000, 434, 18878, 325000, 326100),
        candle_of("2022-02-06T15:01:00", 330900, 755, 24803510000, 156, 18496, 0, 0),
        candle_of("2022-02-07T14:15:00", 332000, 4231, 142817590000, 919, 15936, 331600, 332000),
        candle_of("2022-02-07T14:16:00", 332900, 45, 1494180000, 6, 15893, 332000, 332800),
    ]


def candle_of(
    at: str, price: int, volume: int, value: int, trades: int, interest: int, bid: int, ask: int
) -> Candle:
    """A candle of one price."""
    return Candle(at, price, price, price, price, volume, value, trades, interest, bid, ask)
