"""Trading day and minute of a state, whatever a publisher writes."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from ime_live.bars.trade_state import read_last, read_message
from ime_live.errors import PayloadError
from ime_live.timezones import TEHRAN, zone_of
from tests.support.payloads import payload
from tests.support.rows import each_row

ZONE = zone_of(TEHRAN)
NOON = round(datetime(2026, 11, 28, 8, 30, tzinfo=UTC).timestamp() * 1_000_000)
"""12:00 in Tehran."""


def read(day: str, time: str) -> tuple[date, int]:
    state = read_last(NOON, payload(5, date=day, time=time).to_json(), ZONE)
    return state.day, state.minute


def test_minute_is_that_of_the_exchange() -> None:
    assert read("2026-11-28", "11:59:58") == (date(2026, 11, 28), 11 * 60 + 59)


def test_state_of_a_former_day_belongs_to_that_day() -> None:
    assert read("2026-11-26", "16:59:59") == (date(2026, 11, 26), 16 * 60 + 59)


@each_row(
    ("day", "time"),
    [
        ("", ""),
        ("1405-09-07", "bad"),
        ("2026-11-29", "10:00:00"),
        ("2026-11-28", "23:59:00"),
        ("2026-11-28", "25:00:00"),
    ],
)
def test_minute_is_that_of_the_version_if_the_time_cannot_be_right(day: str, time: str) -> None:
    found_day, minute = read(day, time)
    assert minute == 12 * 60
    assert found_day == (date(1405, 9, 7) if day.startswith("1405") else date(2026, 11, 28))


@each_row("raw", [b"", b"{}", b"[" * 100_000, b'{"version":1,"data":{}}', b"\xff", b" " * 70_000])
def test_message_without_a_state_is_refused(raw: bytes) -> None:
    with pytest.raises(PayloadError):
        read_message(raw, NOON, ZONE)


def test_version_far_ahead_is_refused() -> None:
    raw = b'{"version":%d,"data":%b}' % (NOON * 1000, payload(5).to_json())
    with pytest.raises(PayloadError, match="is not microseconds"):
        read_message(raw, NOON, ZONE)
