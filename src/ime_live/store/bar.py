"""Bar: a minute of a contract's trading day, and the stored form of a day's bars. No I/O.

The bars of a day are one text in the store: the fencing token of its writer in `HEADER` digits,
then a record of `RECORD` bytes per bar, in order. A bar holds the day's totals at its end. The
volume of a bar is the difference to the bar before it, so whatever bars are missing or come from
two writers, nothing is counted twice. Only the last bar changes; all before it are final.
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
"""Bytes of a bar in the store."""

LAST_MINUTE: Final = 1439


class Bar(Struct):
    """A minute in which there was a trade.

    Attributes:
        minute: minutes since midnight on Tehran's clock.
        open: first last price, in rials.
        high: highest last price, in rials.
        low: lowest last price, in rials.
        close: last price at the end, in rials.
        volume: quantity traded on the day until its end.
        value: value of the day's trades until its end, in rials.
        trades: number of the day's trades until its end.
        open_interest: open interest at its end.
        bid: best buy price at its end, in rials.
        ask: best sell price at its end, in rials.
        gap: whether it may hold trades of earlier minutes, which were not seen.
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
    """Return the records of bars."""
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
    """Return the bars of a day as stored.

    Damaged data is left out: a record that was cut off, and everything from the first record whose
    minute is not later than the one before.
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
