"""Trading hours: what settings are read, which holidays there are, and when a session changes."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ime_live.contracts import Market
from ime_live.errors import SettingsError
from ime_live.feeds.pipeline.hours import WEEK, Session, TradingHours, read_days, read_hours
from ime_live.settings import HoursSettings
from ime_live.status import TradingSession
from tests.support.rows import each_row

FUTURES = Market.FUTURES


def at(text: str) -> int:
    """Tehran's wall clock as microseconds."""
    return round(datetime.fromisoformat(f"{text}+03:30").timestamp() * 1e6)


def hours(
    futures: str = "sat-wed 11:45-17:00, thu 11:45-15:00", **settings: object
) -> TradingHours:
    return TradingHours(HoursSettings(hours_futures=futures, **settings))  # type: ignore[arg-type]


class TestReading:
    def test_hours_have_sessions_of_days(self) -> None:
        week = read_hours("sat-wed 08:30-12:00 13:00-17:00, thu 9:00-12:00", "--x")
        whole = (Session(510, 720), Session(780, 1020))
        assert week == (whole,) * 5 + ((Session(540, 720),), ())

    @each_row(
        "text",
        ["thu-sat 10:00-11:00", "Thursday-Saturday 10:00-11:00", "thu-sat ۱۰:۰۰-۱۱:۰۰"],
    )
    def test_range_of_days_may_cross_the_end_of_the_week(self, text: str) -> None:
        session = (Session(600, 660),)
        assert read_hours(text, "--x") == (session, (), (), (), (), session, session)

    @each_row(
        "text",
        [
            "sat, mon 10:00-12:00 13:00-14:00",
            "sat mon 10:00-12:00, 13:00-14:00",
            "sat,mon 10:00 - 12:00، 13:00–14:00",
            "mon 13:00-14:00; sat 13:00-14:00, sat,mon 10:00-12:00",
        ],
    )
    def test_days_and_sessions_may_be_lists(self, text: str) -> None:
        both = (Session(600, 720), Session(780, 840))
        assert read_hours(text, "--x") == (both, (), both, (), (), (), ())

    def test_empty_hours_have_no_session(self) -> None:
        assert read_hours(" ", "--x") == ((),) * 7

    @each_row(
        ("text", "named"),
        [
            ("sat-wed", "'sat-wed' must have times"),
            ("sat 10:00-11:00, thu", "'thu' must have times"),
            ("10:00-11:00 sat", "'10:00-11:00' must have days"),
            ("sat 22:00-02:00", "22:00-02:00"),
            ("someday 10:00-11:00", "someday"),
            ("sat 10-11", "10-11"),
            ("sat 10:00-11:60", "11:60"),
            ("sat 17:00-12:00", "17:00-12:00"),
            ("sat 10:00-24:01", "24:01"),
            ("sat 10:00-12:00 11:00-13:00", "must not overlap"),
            ("sat 10:00-12:00, sat-sun 11:00-13:00", "sessions of sat must not overlap"),
        ],
    )
    def test_malformed_hours_are_named(self, text: str, named: str) -> None:
        with pytest.raises(SettingsError, match="--hours-futures") as caught:
            hours(text)
        assert named in str(caught.value)

    @given(st.text("satwedhu-:,0129 ", max_size=30) | st.text(max_size=20))
    def test_any_text_is_hours_or_refused(self, text: str) -> None:
        for read in (read_hours, read_days):
            with suppress(SettingsError):
                read(text, "--x")

    def test_holidays_are_jalali_or_gregorian_dates(self) -> None:
        assert read_days("1405-01-01, 2026/08/01  ۱۴۰۵-۰۵-۰۳", "--x") == {
            date(2026, 3, 21),
            date(2026, 8, 1),
            date(2026, 7, 25),
        }
        for dots in ("..", " .. "):
            assert read_days(f"1404-12-28{dots}1405-01-02", "--x") == {
                date(2026, 3, 19) + timedelta(days=n) for n in range(4)
            }

    @each_row(
        "text",
        [
            "1405-13-01",
            "yesterday",
            "1405-02-01..1405-01-01",
            "..",
            "2020-01-01..2026-01-01",
            "0140-05-03",
        ],
    )
    def test_malformed_holidays_are_refused(self, text: str) -> None:
        with pytest.raises(SettingsError, match="--holidays"):
            hours(holidays=text)


class TestSessions:
    @each_row(
        ("moment", "open_"),
        [
            ("2026-11-25T11:44:59", False),  # Wednesday, 4 Azar 1405
            ("2026-11-25T11:45:00", True),
            ("2026-11-25T16:59:59", True),
            ("2026-11-25T17:00:00", False),
            ("2026-11-26T14:59:00", True),  # Thursday
            ("2026-11-26T15:00:00", False),
            ("2026-11-27T12:00:00", False),  # Friday
            ("2026-11-28T12:00:00", True),  # Saturday
        ],
    )
    def test_default_hours_have_the_sessions_of_the_exchange(
        self, moment: str, open_: bool
    ) -> None:
        assert hours().in_session(FUTURES, at(moment)) is open_

    @each_row(
        "moment",
        [
            "2026-03-21T12:00",  # Nowruz, a Saturday
            "2026-06-25T12:00",  # Ashura, by the moon
            "2027-02-11T12:00",  # 22 Bahman
        ],
    )
    def test_official_holidays_have_no_session(self, moment: str) -> None:
        assert not hours().in_session(FUTURES, at(moment))
        assert hours(official_holidays=False).in_session(FUTURES, at(moment)) is True
        day = moment[:10]
        assert hours(trading_days=day).in_session(FUTURES, at(moment))

    def test_configured_holidays_have_no_session(self) -> None:
        moment = at("2026-11-25T12:00")
        assert not hours(holidays="1405-09-04").in_session(FUTURES, moment)

    def test_each_market_has_its_own_hours(self) -> None:
        mine = hours(hours_options="sat-wed 09:00-10:00")
        moment = at("2026-11-25T09:30")
        assert mine.in_session(Market.OPTION, moment)
        assert not mine.in_session(FUTURES, moment)

    def test_next_change_is_the_next_opening_or_close(self) -> None:
        mine = hours()
        opening, end = at("2026-11-25T11:45"), at("2026-11-25T17:00")
        assert mine.next_change(FUTURES, opening - 1) == opening
        assert mine.next_change(FUTURES, opening) == end
        # Thursday's end to Saturday's beginning.
        assert mine.next_change(FUTURES, at("2026-11-26T15:00")) == at("2026-11-28T11:45")
        assert hours("").next_change(FUTURES, opening) is None

    def test_adjacent_sessions_are_one_session(self) -> None:
        mine = hours("wed 10:00-12:00 12:00-14:00")
        assert mine.next_change(FUTURES, at("2026-11-25T10:30")) == at("2026-11-25T14:00")

    def test_session_began_is_the_start_of_the_present_session(self) -> None:
        mine = hours("wed 10:00-12:00 12:00-14:00 15:00-24:00, thu 00:00-02:00")
        assert mine.session_start(FUTURES, at("2026-11-25T10:00")) == at("2026-11-25T10:00")
        assert mine.session_start(FUTURES, at("2026-11-25T13:00")) == at("2026-11-25T10:00")
        assert mine.session_start(FUTURES, at("2026-11-25T14:00")) is None
        assert mine.session_start(FUTURES, at("2026-11-26T01:59")) == at("2026-11-25T15:00")
        assert mine.next_change(FUTURES, at("2026-11-25T15:00")) == at("2026-11-26T02:00")

    def test_next_change_after_long_holidays_is_found(self) -> None:
        mine = hours(holidays="2026-11-24..2027-11-23")
        assert mine.next_change(FUTURES, at("2026-11-24T12:00")) == at("2027-11-24T11:45")

    def test_session_may_last_all_day(self) -> None:
        mine = hours("sat-fri 00:00-24:00", official_holidays=False)
        assert mine.in_session(FUTURES, at("2026-11-27T23:59:59"))
        assert mine.next_change(FUTURES, at("2026-11-27T12:00")) is None

    @given(st.integers(at("2024-01-01T00:00"), at("2028-01-01T00:00")))
    def test_session_state_is_constant_until_the_next_change(self, moment: int) -> None:
        mine = hours()
        change = mine.next_change(FUTURES, moment)
        assert change is not None
        before = mine.in_session(FUTURES, moment)
        assert mine.in_session(FUTURES, change) is not before
        assert mine.in_session(FUTURES, change - 1) is before
        assert mine.in_session(FUTURES, (moment + change) // 2) is before
        began = mine.session_start(FUTURES, moment)
        assert (began is not None) is before
        if began is not None:
            assert began <= moment
            assert mine.next_change(FUTURES, began - 1) == began
            assert mine.next_change(FUTURES, began) == change


SLOTS = 48  # half an hour each


@st.composite
def weeks(draw: st.DrawFn) -> tuple[str, set[int]]:
    """Hours, and the half hours of the week, from Saturday's midnight on, that are in session."""
    parts, open_ = [], set()
    for number, day in enumerate(WEEK):
        cuts = sorted(draw(st.sets(st.integers(0, SLOTS), max_size=6)))
        for begin, end in zip(cuts[::2], cuts[1::2], strict=False):
            times = "-".join(f"{cut // 2:02}:{cut % 2 * 30:02}" for cut in (begin, end))
            parts.append(f"{day} {times}")
            open_ |= {number * SLOTS + slot for slot in range(begin, end)}
    return ", ".join(parts), open_


@given(weeks(), st.integers(0, 7 * SLOTS * 30 - 1))
def test_any_week_matches_its_table(week: tuple[str, set[int]], minute: int) -> None:
    text, open_ = week
    mine = hours(text, official_holidays=False)
    saturday, slot = at("2026-11-21T00:00"), minute // 30
    changes = (
        slot + n
        for n in range(1, 7 * SLOTS + 1)
        if ((slot + n) % (7 * SLOTS) in open_) is not (slot in open_)
    )
    change = next(changes, None)
    now = saturday + minute * 60_000_000
    assert mine.in_session(FUTURES, now) is (slot in open_)
    assert mine.next_change(FUTURES, now) == (
        None if change is None else saturday + change * 1_800_000_000
    )


class TestTelling:
    def test_week_has_the_sessions_of_each_day(self) -> None:
        week = hours("sat 08:30-12:00 13:00-24:00").week(FUTURES)
        assert list(week) == list(WEEK)
        assert week["sat"] == (TradingSession("08:30", "12:00"), TradingSession("13:00", "24:00"))
        assert week["sun"] == week["fri"] == ()

    def test_holidays_are_the_closed_days_of_a_year(self) -> None:
        mine = hours(
            official_holidays=False,
            holidays="2026-05-01, 2026-05-03..2026-05-05, 2027-05-03, 2026-05-02",
            trading_days="2026-05-04",
        )
        closed = [date(2026, 5, 2), date(2026, 5, 3), date(2026, 5, 5)]
        assert mine.holidays(at("2026-05-02T23:59:59")) == tuple(closed)
        assert mine.holidays(at("2026-05-03T00:00:00")) == (*closed[1:], date(2027, 5, 3))

    def test_official_holidays_are_listed(self) -> None:
        assert date(2027, 3, 21) in hours().holidays(at("2026-11-27T12:00:00"))
        mine = hours(trading_days="2027-03-21")
        assert date(2027, 3, 21) not in mine.holidays(at("2026-11-27T12:00:00"))
