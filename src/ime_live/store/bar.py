"""Bars: the minutes of a contract's trading day, and their form in the store. No I/O.

The bars of a day are one string in the store: the fencing token of the writer in `HEADER` digits,
then a record of `RECORD` bytes per bar, in order. A bar has the totals of the day at its end. The
volume of a bar is the difference to the previous bar, so nothing is counted twice, even if bars are
missing or come from two writers. Only the last bar changes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from ime_live.store.scripts import MAX_DIGITS

HEADER: Final = MAX_DIGITS
"""Digits of the fencing token before the first bar."""

_GAP: Final = 1
_FORMAT: Final = struct.Struct("<HH10d")

RECORD: Final = _FORMAT.size
"""Size of a bar in the store [bytes]."""

LAST_MINUTE: Final = 1439


class Bar(Struct):
    """A minute in which there was a trade.

    Attributes:
        minute: minutes since midnight in Tehran.
        open: first last price of the minute, in rials.
        high: highest last price, in rials.
        low: lowest last price, in rials.
        close: last price at the end of the minute, in rials.
        volume: quantity traded from the beginning of the day to the end of the minute.
        value: value of the trades in the same time, in rials.
        trades: number of trades in the same time.
        open_interest: open interest at the end of the minute.
        bid: best buy price at the end of the minute, in rials.
        ask: best sell price at the end of the minute, in rials.
        gap: whether the bar may include trades of earlier minutes that were missed.
    """

    minute: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    value: float
    trades: float
    open_interest: float
    bid: float
    ask: float
    gap: bool = False


def pack(bars: Iterable[Bar]) -> bytes:
    """Return the records of bars, as they are stored."""
    return b"".join(
        _FORMAT.pack(
            bar.minute,
            _GAP if bar.gap else 0,
            *(bar.open, bar.high, bar.low, bar.close, bar.volume, bar.value, bar.trades),
            *(bar.open_interest, bar.bid, bar.ask),
        )
        for bar in bars
    )


def unpack(stored: bytes) -> list[Bar]:
    """Return the bars in the stored string of a day.

    Damaged data is left out: an incomplete record, and all records from the first whose minute is
    not later than the previous one.
    """
    bars: list[Bar] = []
    last = -1
    end = HEADER + max(0, len(stored) - HEADER) // RECORD * RECORD
    for record in _FORMAT.iter_unpack(stored[HEADER:end]):
        minute, flags, start, high, low, close, volume, value, trades, interest, bid, ask = record
        if not last < minute <= LAST_MINUTE:
            break
        last = minute
        gap = bool(flags & _GAP)
        bars.append(
            Bar(minute, start, high, low, close, volume, value, trades, interest, bid, ask, gap)
        )
    return bars
