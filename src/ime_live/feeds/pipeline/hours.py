"""Trading hours: whether a market is in session at a time, and until when.

Sessions are times in Tehran on days of the week, except on holidays. The exchange changes them
often, so they are settings.

Known: since 2025-09-23 pre-opening begins at 11:45 and continuous trading at 12:00, for derivatives
and certificates alike (the exchange's notice of the day before). Certificates of gold bars end at
17:00 and on Thursdays at 15:00 (the exchange's daily reports of 2025); Fridays are closed.
Inferred: that futures and options end when those do, as they did by the notices of 2022; that other
certificates, which began at 08:45 then, and funds and parallel salaf keep the same hours now. Not
foreseeable: single days that the exchange's board closes, as Thursday 1404-01-14.

Holidays of the lunar calendar are official up to the year that the library knows, and estimates
after it, which may be a day off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from holidays.countries.iran import Iran
from msgspec import Struct
from persiantools.jdatetime import JalaliDate

from ime_live.contracts import Market
from ime_live.errors import SettingsError
from ime_live.feeds.boards.parsers import YEARS
from ime_live.settings import HoursSettings, flag
from ime_live.spelling import fold
from ime_live.status import TradingSession, Week
from ime_live.timezones import TEHRAN, zone_of

WEEK: Final = ("sat", "sun", "mon", "tue", "wed", "thu", "fri")
"""Days of Iran's week, in order."""

_LONG_NAMES: Final = (
    "saturday",
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
)

_OPTIONS: Final[Mapping[Market, str]] = {
    Market.FUTURES: "hours_futures",
    Market.OPTION: "hours_options",
    Market.DEPOSIT_CERTIFICATE: "hours_certificates",
    Market.FUND: "hours_funds",
    Market.PARALLEL_SALAF: "hours_salaf",
}

_SATURDAY: Final = 5  # as datetime.weekday() counts
_DAY: Final = timedelta(days=1)
_JALALI_BEFORE: Final = 1700  # no Jalali year of interest is above it, no Gregorian one below
_MAX_RANGE: Final = 366  # days

_HORIZON: Final = 400
"""Number of days searched for the next session: more than the longest range of holidays."""

_SEPARATORS: Final = re.compile(r"[\s,،;]+")


class Session(Struct, frozen=True, order=True):
    """One session of a day, in minutes after midnight of Tehran; the end is not part of it."""

    begins: int
    ends: int


class TradingHours:
    """The sessions of each market."""

    def __init__(self, settings: HoursSettings, zone: ZoneInfo | None = None) -> None:
        """Parse the settings.

        Args:
            settings: sessions and holidays.
            zone: Tehran's time zone; None takes it from `zone_of`.

        Raises:
            SettingsError: one of them cannot be read; the text names the option and the part.
        """
        self._zone = zone_of(TEHRAN) if zone is None else zone
        self._weeks = {
            market: read_hours(getattr(settings, name), flag(name))
            for market, name in _OPTIONS.items()
        }
        self._closed = read_days(settings.holidays, flag("holidays"))
        self._open = read_days(settings.trading_days, flag("trading_days"))
        # It computes each year on first use.
        self._official = Iran() if settings.official_holidays else None
        self._holidays: tuple[date, tuple[date, ...]] | None = None
        """The holidays of a year, and the day from which they were computed."""

    def week(self, market: Market) -> Week:
        """Return the sessions of a market by day of the week."""
        return {
            day: tuple(
                TradingSession(_clock(session.begins), _clock(session.ends)) for session in sessions
            )
            for day, sessions in zip(WEEK, self._weeks[market], strict=True)
        }

    def holidays(self, at: int) -> tuple[date, ...]:
        """Return the days without a session, from the day at ``at`` for a year."""
        today = self._local(at).date()
        if self._holidays is None or self._holidays[0] != today:
            year = (today + n * _DAY for n in range(_MAX_RANGE))
            self._holidays = today, tuple(day for day in year if self._is_holiday(day))
        return self._holidays[1]

    def in_session(self, market: Market, at: int) -> bool:
        """Return whether ``market`` trades at ``at``, in microseconds since the Unix epoch."""
        now = self._local(at)
        minute = now.hour * 60 + now.minute
        return any(s.begins <= minute < s.ends for s in self._sessions(market, now.date()))

    def session_start(self, market: Market, at: int) -> int | None:
        """Return when the session at ``at`` began, in microseconds; None outside of the sessions.

        A session of more than a day counts from yesterday's midnight.
        """
        if not self.in_session(market, at):
            return None
        now = self._local(at)
        yesterday = now.date() - _DAY
        begins = datetime.combine(yesterday, time(), self._zone)
        for moment in self._edges(market, yesterday, days=2):
            if moment <= now and not self.in_session(market, _timestamp(moment) - 1):
                begins = moment
        return _timestamp(begins)

    def next_change(self, market: Market, at: int) -> int | None:
        """Return when a session next begins or ends, in microseconds; None if not in a year."""
        now = self._local(at)
        open_now = self.in_session(market, at)
        for moment in self._edges(market, now.date()):
            if moment > now and self.in_session(market, _timestamp(moment)) is not open_now:
                return _timestamp(moment)
        return None

    def _edges(self, market: Market, day: date, days: int = _HORIZON) -> Iterator[datetime]:
        for n in range(days):
            for session in self._sessions(market, day + n * _DAY):
                for minute in (session.begins, session.ends):
                    midnight = datetime.combine(day + n * _DAY, time(), self._zone)
                    yield midnight + timedelta(minutes=minute)

    def _sessions(self, market: Market, day: date) -> tuple[Session, ...]:
        if self._is_holiday(day):
            return ()
        return self._weeks[market][(day.weekday() - _SATURDAY) % len(WEEK)]

    def _is_holiday(self, day: date) -> bool:
        return day not in self._open and (
            day in self._closed or (self._official is not None and day in self._official)
        )

    def _local(self, at: int) -> datetime:
        return datetime.fromtimestamp(at / 1e6, self._zone)


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _timestamp(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)


def read_hours(text: str, option: str) -> tuple[tuple[Session, ...], ...]:
    """Parse the sessions of each day, Saturday first: ``sat-wed 11:45-17:00, thu 11:45-15:00``.

    An empty text has none.

    Args:
        text: days and ranges of days, each followed by their sessions, separated by commas or
            spaces. A session over midnight is written as two, to 24:00 and from 00:00.
        option: name of the option, for messages.

    Raises:
        SettingsError: it cannot be read, or two sessions of a day overlap.
    """
    week: list[list[Session]] = [[] for _ in WEEK]
    days: list[int] = []
    untimed = ""
    for word in filter(None, _SEPARATORS.split(re.sub(r"\s*[-–]\s*", "-", fold(text)))):
        if not word[0].isdigit():
            days = [*(days if untimed else ()), *_days_of(word, option)]
            untimed = word
        elif not days:
            raise SettingsError(f"{option}: {word!r} must have days before it, such as sat-wed")
        else:
            untimed = ""
            session = _session(word, option)
            for day in days:
                week[day].append(session)
    if untimed:
        raise SettingsError(f"{option}: {untimed!r} must have times, such as 11:45-17:00")
    for name, sessions_of_day in zip(WEEK, week, strict=True):
        sessions_of_day.sort()
        for one, other in pairwise(sessions_of_day):
            if other.begins < one.ends:
                raise SettingsError(f"{option}: two sessions of {name} must not overlap")
    return tuple(map(tuple, week))


def _days_of(text: str, option: str) -> list[int]:
    first, dash, last = text.lower().partition("-")
    begin = _day_of(first, option)
    end = _day_of(last, option) if dash else begin
    return [(begin + n) % len(WEEK) for n in range((end - begin) % len(WEEK) + 1)]


def _day_of(name: str, option: str) -> int:
    for number, day in enumerate(WEEK):
        if name in (day, _LONG_NAMES[number]):
            return number
    raise SettingsError(f"{option}: a day must be one of {', '.join(WEEK)}, got {name!r}")


def _session(text: str, option: str) -> Session:
    match = re.fullmatch(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)", text, re.ASCII)
    if match is None:
        raise SettingsError(f"{option}: {text!r} is not a session such as 11:45-17:00")
    begin_hour, begin_minute, end_hour, end_minute = map(int, match.groups())
    if max(begin_minute, end_minute) >= 60:
        raise SettingsError(f"{option}: {text!r} is not a session such as 11:45-17:00")
    session = Session(begin_hour * 60 + begin_minute, end_hour * 60 + end_minute)
    if not session.begins < session.ends <= 24 * 60:
        raise SettingsError(f"{option}: {text!r} must end after its start, on the same day")
    return session


def read_days(text: str, option: str) -> Set[date]:
    """Parse days: ``1405-05-03, 2026-08-01..2026-08-03``, Jalali before the year 1700.

    Raises:
        SettingsError: one of them is not a day; the text names it.
    """
    days: set[date] = set()
    for part in filter(None, _SEPARATORS.split(re.sub(r"\s*\.\.\s*", "..", fold(text)))):
        first, dots, last = part.partition("..")
        begin = _date(first, option)
        end = _date(last, option) if dots else begin
        count = (end - begin).days + 1
        if not 0 < count <= _MAX_RANGE:
            raise SettingsError(f"{option}: {part!r} is not a range of days within a year")
        days.update(begin + n * _DAY for n in range(count))
    return frozenset(days)


def _date(text: str, option: str) -> date:
    match = re.fullmatch(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})", text, re.ASCII)
    if match is not None:
        year, month, day = map(int, match.groups())
        with suppress(ValueError):
            if year < _JALALI_BEFORE:
                jalali = JalaliDate(year, month, day)  # type: ignore[no-untyped-call]
                parsed: date = jalali.to_gregorian()
            else:
                parsed = date(year, month, day)
            if parsed.year in YEARS:
                return parsed
    raise SettingsError(f"{option}: {text!r} is not a day such as 1405-05-03 or 2026-08-01")
