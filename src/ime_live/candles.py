"""Candle: the trades of an interval of a trading day, and the supported intervals."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from ime_live.market import Number

MAX_DAYS: Final = 100
"""Maximum of contracts times days in a call for candles: a day has up to a few hundred bars."""


class Interval(StrEnum):
    """Length of a candle. Intervals begin at midnight on Tehran's clock."""

    MINUTE = "1m"
    FIVE_MINUTES = "5m"
    QUARTER = "15m"
    HOUR = "1h"
    DAY = "1d"

    @property
    def minutes(self) -> int:
        """Its length in minutes."""
        return {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "1d": 1440}[self.value]


class Candle(Struct, frozen=True):
    """The trades of a contract in an interval. An interval without a trade has no candle.

    Attributes:
        time: start of the interval, ISO 8601 on Tehran's clock, as ``2026-11-28T11:45:00``.
        open: first last price, in rials.
        high: highest last price, in rials.
        low: lowest last price, in rials.
        close: last price at the end, in rials.
        volume: quantity traded, in contracts, or in certificates or shares where those are traded.
        value: value of the trades, in rials.
        trades: number of trades.
        open_interest: open interest at the end, in contracts.
        bid: best buy price at the end, in rials; 0 if there is none.
        ask: best sell price at the end, in rials; 0 if there is none.
        gap: whether it may hold trades of earlier minutes, in which no bars were kept.
    """

    time: str
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number
    value: Number
    trades: Number
    open_interest: Number
    bid: Number
    ask: Number
    gap: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, a row for ``pandas.DataFrame``.

        >>> Candle("2026-11-28T11:45:00", 5, 7, 4, 6, 9, 54, 3, 20, 5, 6).to_dict()["close"]
        6
        """
        return msgspec.structs.asdict(self)
