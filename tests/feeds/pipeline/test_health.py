"""Feed health: live, stale, closed or down, by connection, boards and hours."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from ime_live.contracts import Market
from ime_live.feeds.boards.field_map import BOARDS
from ime_live.feeds.ime.frame_source import ConnectionState
from ime_live.feeds.pipeline.health import FeedHealth
from ime_live.feeds.pipeline.hours import TradingHours
from ime_live.settings import HoursSettings
from ime_live.status import FeedState, TradingSession, Week, read_status

SECOND = 1_000_000
FUTURES, OPTIONS = "updateFutureMarketsInfo", "updateMarketsInfo"
START = 1_000 * SECOND
WEEK_OF_TESTS: Week = {"sat": (TradingSession("11:45", "17:00"),), "fri": ()}
HOLIDAYS_OF_TESTS = (date(2026, 3, 21), date(2026, 3, 22))


class Hours:
    """Opens and closes markets."""

    def __init__(self) -> None:
        self.open: set[Market] = set(Market)
        self.began = 0

    def session_start(self, market: Market, at: int) -> int | None:
        del at
        return self.began if market in self.open else None

    def next_change(self, market: Market, at: int) -> int | None:
        del market
        return at + 60 * SECOND

    def week(self, market: Market) -> Week:
        del market
        return WEEK_OF_TESTS

    def holidays(self, at: int) -> tuple[date, ...]:
        del at
        return HOLIDAYS_OF_TESTS


@pytest.fixture
def hours() -> Hours:
    return Hours()


@pytest.fixture
def health(hours: Hours) -> FeedHealth:
    made = FeedHealth({FUTURES, OPTIONS}, stale_after=30, hours=hours)
    made.note_connection(ConnectionState("webSockets", since=START / SECOND))
    return made


def state(health: FeedHealth, at: int) -> FeedState:
    return health.status(START + at * SECOND).state


def test_feed_without_a_connection_is_down(health: FeedHealth, hours: Hours) -> None:
    health.note_connection(ConnectionState(error="refused"))
    status = health.status(START)
    assert (status.state, status.source, status.error) == (FeedState.DOWN, "", "refused")
    hours.open.clear()
    assert state(health, 1) is FeedState.DOWN  # also at night: it is not connected


def test_silence_in_a_session_is_stale(health: FeedHealth) -> None:
    assert state(health, 0) is FeedState.LIVE  # it has been connected just now
    assert state(health, 30) is FeedState.LIVE
    assert state(health, 31) is FeedState.STALE
    health.note_board(FUTURES, 8, START + 40 * SECOND)
    assert state(health, 70) is FeedState.LIVE
    assert state(health, 71) is FeedState.STALE


def test_each_market_has_its_own_state(health: FeedHealth, hours: Hours) -> None:
    health.status(START)
    health.note_board(FUTURES, 8, START + 40 * SECOND)
    status = health.status(START + 50 * SECOND)
    assert set(status.markets) == {Market.FUTURES, Market.OPTION}
    assert status.markets[Market.FUTURES].state is FeedState.LIVE
    assert status.markets[Market.OPTION].state is FeedState.STALE
    assert status.state is FeedState.LIVE  # the feed is not silent

    hours.open = {Market.OPTION}
    status = health.status(START + 50 * SECOND)
    assert status.markets[Market.FUTURES].state is FeedState.CLOSED
    assert status.state is FeedState.STALE


def test_feed_outside_the_session_is_closed(health: FeedHealth, hours: Hours) -> None:
    hours.open.clear()
    health.note_board(FUTURES, 8, START)
    assert state(health, 100) is FeedState.CLOSED


def test_silence_counts_from_the_opening(health: FeedHealth, hours: Hours) -> None:
    hours.began = START + 200 * SECOND
    assert state(health, 230) is FeedState.LIVE
    assert state(health, 231) is FeedState.STALE


def test_silence_does_not_depend_on_when_it_was_asked_before() -> None:
    # A standby asks for no status until it leads: once a day before, say, or never.
    opening = datetime.fromisoformat("2026-11-25T11:45+03:30").timestamp()
    for asked_before in (True, False):
        health = FeedHealth({FUTURES}, stale_after=30, hours=TradingHours(HoursSettings()))
        health.note_connection(ConnectionState("webSockets", since=opening - 90_000))
        if asked_before:
            assert health.status(round((opening - 80_000) * 1e6)).state is FeedState.STALE
        assert health.status(round((opening + 5) * 1e6)).state is FeedState.LIVE

        health = FeedHealth({FUTURES}, stale_after=30, hours=TradingHours(HoursSettings()))
        health.note_connection(ConnectionState("webSockets", since=opening - 90_000))
        assert health.status(round((opening + 3_600) * 1e6)).state is FeedState.STALE


def test_silence_counts_from_the_connection(health: FeedHealth) -> None:
    health.note_connection(ConnectionState("polling", since=START / SECOND + 60))
    assert state(health, 90) is FeedState.LIVE
    assert state(health, 91) is FeedState.STALE


@pytest.mark.parametrize(
    ("board", "market"),
    [
        ("updateSandoqMarketsInfo", Market.FUND),
        ("updateSalafMarketsInfo", Market.PARALLEL_SALAF),
    ],
)
def test_funds_and_salaf_are_markets_of_their_own(board: str, market: Market) -> None:
    health = FeedHealth({board}, stale_after=30, hours=Hours())
    health.note_connection(ConnectionState("webSockets", since=START / SECOND))
    health.note_board(board, 5, START + 40 * SECOND)
    assert state(health, 70) is FeedState.LIVE
    assert state(health, 71) is FeedState.STALE
    assert set(health.status(START).markets) == {market}


def test_status_has_the_hours_and_holidays_of_the_feed(health: FeedHealth) -> None:
    status = health.status(START)
    assert status.markets[Market.FUTURES].hours == WEEK_OF_TESTS
    assert status.holidays == HOLIDAYS_OF_TESTS
    assert read_status(status.to_json()) == status


def test_since_is_when_the_state_was_entered(health: FeedHealth) -> None:
    assert health.status(START).since == START
    assert health.status(START + 9 * SECOND).since == START
    assert health.status(START + 40 * SECOND).since == START + 40 * SECOND


def test_status_of_a_market_has_state_and_since() -> None:
    health = FeedHealth(BOARDS, stale_after=30, hours=Hours())
    health.note_connection(ConnectionState("polling", since=0.0, error="the SignalR hub refuses"))
    health.note_board("updateCDCMarketsInfo", 2, START)
    health.note_board("updateGavahiMarketsInfo", 67, START + SECOND)
    health.note_board("updateGavahiMarketsInfo", 66, START + 2 * SECOND)
    status = health.status(START + 3 * SECOND)
    certificates = status.markets[Market.DEPOSIT_CERTIFICATE]
    assert (certificates.contracts, certificates.last_board) == (68, START + 2 * SECOND)
    assert certificates.until == START + 63 * SECOND
    assert status.markets[Market.FUTURES].last_board is None
    assert status.last_board == START + 2 * SECOND
    assert (status.source, status.error) == ("polling", "the SignalR hub refuses")
    assert status.written == START + 3 * SECOND


def test_boards_of_other_markets_count_for_the_whole_only(health: FeedHealth) -> None:
    health.status(START)
    health.note_board("updateSandoqMarketsInfo", 5, START + 60 * SECOND)
    status = health.status(START + 61 * SECOND)
    assert status.last_board == START + 60 * SECOND
    assert status.state is FeedState.STALE


# How late boards come


@pytest.fixture
def measuring(hours: Hours) -> FeedHealth:
    made = FeedHealth({FUTURES, OPTIONS}, stale_after=30, hours=hours, max_lag=10)
    made.note_connection(ConnectionState("webSockets", since=START / SECOND))
    return made


def come(health: FeedHealth, pushed: float, at: float, board: str = FUTURES) -> float | None:
    """A board comes some seconds after the start; the lag that is said then."""
    now = START + round(at * SECOND)
    health.note_timestamp(board, START + round(pushed * SECOND), now)
    health.note_board(board, 8, now)
    return health.status(now).lag


def test_lag_is_the_delay_of_a_board_after_its_timestamp(measuring: FeedHealth) -> None:
    assert measuring.status(START).lag is None
    assert come(measuring, 1.0, 1.5) is None  # it is unknown for how long the board had not changed
    assert come(measuring, 2.0, 2.75) == 0.75
    assert come(measuring, 3.0, 7.0) == 4.0
    assert come(measuring, 8.0, 7.9) == 0.0  # within the accuracy of clocks


def test_boards_beyond_max_lag_are_stale(measuring: FeedHealth) -> None:
    for n in range(60):
        lag = come(measuring, n, 1.6 * n)  # a link that is slower than its boards
        late = lag is not None and lag > 10
        status = measuring.status(START + round(1.6 * n * SECOND))
        assert status.state is (FeedState.STALE if late else FeedState.LIVE)
        assert measuring.late == late
        assert status.markets[Market.FUTURES].state is status.state
    assert status.lag == pytest.approx(0.6 * 59)
    assert come(measuring, 96, 96.5) == 0.5
    assert measuring.status(START + 97 * SECOND).state is FeedState.LIVE


def test_lag_is_that_of_the_newest_timestamp_of_all_boards(measuring: FeedHealth) -> None:
    come(measuring, 0, 0)
    come(measuring, 0, 0, OPTIONS)
    assert come(measuring, 20, 20.5) == 0.5
    # A strike that was traded before that, and a board that came again.
    assert come(measuring, 5, 21, OPTIONS) == 0.5
    assert come(measuring, 20, 40) == 0.5


def test_board_that_stands_still_is_not_late(measuring: FeedHealth) -> None:
    yesterday = -86_400.0
    for at in range(0, 200, 10):
        assert come(measuring, yesterday, at) is None
        assert measuring.status(START + at * SECOND).state is FeedState.LIVE


def test_first_board_of_a_connection_does_not_tell_the_lag(measuring: FeedHealth) -> None:
    assert come(measuring, 0, 60, OPTIONS) is None
    assert come(measuring, 20, 60) is None  # in a quiet market
    come(measuring, 61, 61)
    measuring.note_connection(ConnectionState("longPolling", since=START / SECOND + 70))
    assert come(measuring, 65, 100) is None
    assert come(measuring, 101, 101.5) == 0.5


@pytest.mark.parametrize("closed", [True, False], ids=["outside the session", "before it"])
def test_lag_of_another_session_does_not_make_the_feed_stale(
    measuring: FeedHealth, hours: Hours, closed: bool
) -> None:
    come(measuring, 0, 0)
    assert come(measuring, 1, 40) == 39.0
    assert measuring.status(START + 40 * SECOND).state is FeedState.STALE
    if closed:
        hours.open.clear()
    else:
        hours.began = START + 41 * SECOND
    status = measuring.status(START + 42 * SECOND)
    assert (status.state, status.lag) == (FeedState.CLOSED if closed else FeedState.LIVE, None)
    assert not measuring.late


def test_feed_that_is_down_has_no_lag(measuring: FeedHealth) -> None:
    come(measuring, 0, 0)
    assert come(measuring, 1, 2) == 1.0
    measuring.note_connection(ConnectionState(error="refused", since=START / SECOND))
    assert measuring.status(START + 3 * SECOND).lag is None


def test_feed_of_funds_alone_has_a_lag() -> None:
    health = FeedHealth({"updateSandoqMarketsInfo"}, stale_after=30, hours=Hours(), max_lag=10)
    health.note_connection(ConnectionState("webSockets", since=START / SECOND))
    come(health, 0, 0, "updateFutureDateTime")
    assert come(health, 1, 21, "updateFutureDateTime") == 20.0
    assert health.status(START + 21 * SECOND).state is FeedState.STALE
