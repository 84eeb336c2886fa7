"""Return the trading hours and holidays of each market, from the feed's status. No I/O."""

from __future__ import annotations

from datetime import date
from typing import Final

import msgspec
from msgspec import Struct, field

from ime_live.contracts import Market
from ime_live.gateway.rest.bodies import Data
from ime_live.status import FeedStatus, Week
from ime_live.timezones import TEHRAN


class MarketHours(Struct, frozen=True):
    """Trading hours and holidays of a market. A value that the feed has not written is null.

    Attributes:
        market: name of the market.
        time_zone: time zone of the hours and holidays.
        sessions: sessions by day of the week, from ``sat``; empty for a day without a session.
        holidays: days without a session within a year from today, whatever their day of the week.
    """

    market: Market
    time_zone: str = field(name="timeZone")
    sessions: Week | None
    holidays: tuple[date, ...] | None


def markets_data(status: FeedStatus | None) -> Data:
    """Return the hours of all markets.

    Args:
        status: the status that the feed has written; None if there never was a feed.
    """
    markets = {} if status is None else status.markets
    holidays = None if status is None else status.holidays
    hours = []
    for market in Market:
        market_status = markets.get(market)
        sessions = None if market_status is None else market_status.hours
        hours.append(MarketHours(market, TEHRAN, sessions, None if sessions is None else holidays))
    is_complete = all(each.sessions is not None for each in hours)
    return Data(_encode(hours), is_complete)


_encode: Final = msgspec.json.Encoder().encode
