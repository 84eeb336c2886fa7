"""The stored form of bars, and what is left of it when somebody else wrote there."""

from __future__ import annotations

from ime_live.store.bar import HEADER, RECORD, Bar, pack, unpack

BARS = [
    Bar(705, 1.5, 2, 1, 2, 10, 1e15, 3, 7, 1, 2),
    Bar(706, 2, 3, 2, 3, 12, 2e15, 4, 7, 0, 3, True),
]
TOKEN = b"0" * HEADER


def test_bars_are_read_as_they_were_written() -> None:
    assert unpack(TOKEN + pack(BARS)) == BARS


def test_record_that_was_cut_off_is_left_out() -> None:
    assert unpack(TOKEN + pack(BARS)[:-1]) == BARS[:1]
    assert unpack(TOKEN[:5]) == unpack(b"") == unpack(TOKEN) == []


def test_bars_end_before_the_first_that_is_out_of_order() -> None:
    assert unpack(TOKEN + pack([*BARS, BARS[0]])) == BARS
    assert unpack(TOKEN + b"\xff" * RECORD) == []
