"""Candles of the REST calls: their intervals, and the row that a program gets."""

from __future__ import annotations

from ime_live.candles import Candle, Interval


def test_intervals_divide_a_day() -> None:
    assert [each.minutes for each in Interval] == [1, 5, 15, 60, 1440]
    assert all(1440 % each.minutes == 0 for each in Interval)


def test_candle_is_converted_to_a_row() -> None:
    row = Candle("2026-11-28T11:45:00", 5, 7, 4, 6, 9, 54, 3, 20, 5, 6).to_dict()
    assert row["time"] == "2026-11-28T11:45:00"
    assert row["gap"] is False
    assert len(row) == 12
