"""The exchange's clock: the machine's, unless the exchange shows that it is wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from ime_live.clock import Clock
from ime_live.feeds.pipeline.exchange_clock import ACCURACY, TOLERANCE, ExchangeClock
from ime_live.timezones import TEHRAN, zone_of
from tests.support.rows import each_row

TRUE = datetime.fromisoformat("2026-11-25T13:26:05+03:30").timestamp()
HOUR = 3_600.0


class Clocks(Clock):
    """A machine whose clock is wrong by some seconds."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.ahead = ahead
        self.passed = 0.0

    def time(self) -> float:
        return TRUE + self.passed + self.ahead

    def monotonic(self) -> float:
        return 1_000.0 + self.passed

    def clock(self) -> ExchangeClock:
        return ExchangeClock(zone_of(TEHRAN), self)

    def off(self, clock: ExchangeClock) -> float:
        """How far it is ahead of the true time."""
        return clock.now() - TRUE - self.passed

    def answer(self, clock: ExchangeClock, *, took: float = 0.0) -> None:
        """The exchange has answered; the header is made in the middle, in whole seconds."""
        sent = self.time()
        self.passed += took / 2
        date = int(TRUE + self.passed)
        self.passed += took / 2
        clock.note_date(date, sent, self.time())


def board(ahead: float = 0.0) -> datetime:
    """The clock board, some seconds ahead of the true time."""
    return datetime.fromtimestamp(TRUE + ahead, zone_of(TEHRAN)).replace(tzinfo=None)


def test_machine_clock_is_trusted_until_the_exchange_sends_a_time() -> None:
    clocks = Clocks(-3 * HOUR)
    clock = clocks.clock()
    assert clocks.off(clock) == -3 * HOUR
    assert clock.error is None
    assert clock.local() == board(-3 * HOUR)


@pytest.mark.parametrize("ahead", [0.0, 0.4, -0.9, 1.5])
@pytest.mark.parametrize("took", [0.0, 0.3, 8.0])
def test_machine_clock_within_tolerance_is_not_corrected(ahead: float, took: float) -> None:
    clocks = Clocks(ahead)
    clock = clocks.clock()
    clocks.answer(clock, took=took)
    assert clocks.off(clock) == pytest.approx(ahead, abs=1e-3)
    assert clock.error is None


@each_row(
    ("ahead", "error"),
    [
        (3 * HOUR, "this machine's clock is 3 h ahead of the exchange's (Date header)"),
        (-3 * HOUR, "this machine's clock is 3 h behind the exchange's (Date header)"),
        (-9 * 24 * HOUR, "this machine's clock is 9 days behind the exchange's (Date header)"),
        (TOLERANCE + 5, "this machine's clock is 5 min ahead of the exchange's (Date header)"),
        (TOLERANCE - 5, None),
        (-60.0, None),
    ],
)
def test_wrong_clock_is_corrected_by_the_date_of_an_answer(ahead: float, error: str | None) -> None:
    clocks = Clocks(ahead)
    clock = clocks.clock()
    clocks.answer(clock, took=0.5)
    assert abs(clocks.off(clock)) <= ACCURACY
    assert clock.error == error
    clocks.passed += 5 * HOUR
    assert abs(clocks.off(clock)) <= ACCURACY


def test_clock_that_is_put_right_is_right_at_once() -> None:
    clocks = Clocks(3 * HOUR)
    clock = clocks.clock()
    clocks.answer(clock)
    clocks.ahead = 0.0
    assert clock.error is None
    assert clocks.off(clock) == 0.0


def test_clock_that_jumps_after_the_answer_is_noticed() -> None:
    clocks = Clocks()
    clock = clocks.clock()
    clocks.answer(clock)
    clocks.ahead = -2 * HOUR
    assert clock.error is not None
    assert abs(clocks.off(clock)) <= ACCURACY


def test_date_of_a_slow_answer_does_not_correct_the_clock() -> None:
    clocks = Clocks(-5.0)
    clock = clocks.clock()
    clocks.answer(clock, took=12.0)  # it may have been made any time of these
    assert clocks.off(clock) == -5.0


def test_clock_board_that_is_ahead_shows_a_machine_that_is_behind() -> None:
    clocks = Clocks(-3 * HOUR)
    clock = clocks.clock()
    clock.note_board(board())
    assert clock.error == "this machine's clock is 3 h behind the exchange's (clock board)"
    assert clocks.off(clock) == 0.0


def test_clock_board_that_runs_behind_shows_a_machine_that_is_ahead() -> None:
    clocks = Clocks(3 * HOUR)
    clock = clocks.clock()
    for _ in range(2):
        clock.note_board(board(clocks.passed))
        clock.note_board(board(clocks.passed))  # it may come twice
        clocks.passed += 10
    assert clock.error == "this machine's clock is 3 h ahead of the exchange's (clock board)"
    assert clocks.off(clock) == 0.0


FrameChanges = Callable[[int], float]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda n: -18 * HOUR, id="it stands still, as on holidays"),
        pytest.param(lambda n: -18 * HOUR + 3_000 * n, id="a recording with gaps"),
        pytest.param(lambda n: -18 * HOUR - n, id="it goes back"),
        pytest.param(lambda n: n * 1.0 - TOLERANCE + 10, id="it comes late on a slow link"),
        pytest.param(lambda n: n * 1.0, id="it is right"),
        pytest.param(lambda n: 400 * 24 * HOUR, id="a slip of its pen"),
    ],
)
def test_inconclusive_clock_board_changes_nothing(change: FrameChanges) -> None:
    clocks = Clocks()
    clock = clocks.clock()
    for n in range(5):
        clock.note_board(board(change(n)))
        clocks.passed += 1
        assert clock.error is None
        assert clocks.off(clock) == 0.0


def test_late_clock_board_does_not_override_a_date_header() -> None:
    clocks = Clocks()
    clock = clocks.clock()
    clocks.answer(clock)
    for _ in range(5):
        clock.note_board(board(clocks.passed - HOUR))
        clocks.passed += 1
        error = clock.error
        assert error is None
    clock.note_board(board(clocks.passed + HOUR))
    assert clock.error == "this machine's clock is 60 min behind the exchange's (clock board)"
    assert clocks.off(clock) == 0.0


def test_clock_board_of_another_day_after_a_night_shows_nothing() -> None:
    clocks = Clocks()
    clock = clocks.clock()
    clock.note_board(board(-HOUR))
    clocks.passed += timedelta(hours=14).total_seconds()
    clock.note_board(board(clocks.passed))
    assert clock.error is None
