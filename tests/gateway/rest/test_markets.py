"""Trading hours and holidays of the markets, from the status that the feed has written."""

from __future__ import annotations

from datetime import date

import msgspec

from ime_live.contracts import Market
from ime_live.gateway.rest.markets import markets_data
from ime_live.status import FeedState, FeedStatus, MarketStatus, TradingSession

HOLIDAYS = (date(2027, 3, 21),)
WEEK = {"sat": (TradingSession("11:45", "17:00"),), "fri": ()}


def test_hours_are_unknown_without_a_feed() -> None:
    data = markets_data(None)
    assert not data.is_complete
    found = msgspec.json.decode(data.json)
    assert [each["market"] for each in found] == list(Market)
    assert {(each["sessions"], each["holidays"]) for each in found} == {(None, None)}


def test_market_whose_hours_the_feed_does_not_tell_has_no_holidays() -> None:
    markets = {
        Market.OPTION: MarketStatus(FeedState.LIVE, hours=WEEK),
        Market.FUND: MarketStatus(FeedState.LIVE),
    }
    data = markets_data(FeedStatus(FeedState.LIVE, 0, markets=markets, holidays=HOLIDAYS))
    assert not data.is_complete
    found = {each["market"]: each for each in msgspec.json.decode(data.json)}
    assert found["IMEOption"] == {
        "market": "IMEOption",
        "timeZone": "Asia/Tehran",
        "sessions": {"sat": [{"begins": "11:45", "ends": "17:00"}], "fri": []},
        "holidays": ["2027-03-21"],
    }
    for market in ("IMEFund", "IMEFutures"):
        assert found[market]["sessions"] is found[market]["holidays"] is None


def test_answer_with_the_hours_of_all_markets_is_whole() -> None:
    markets = {market: MarketStatus(FeedState.CLOSED, hours=WEEK) for market in Market}
    assert markets_data(FeedStatus(FeedState.CLOSED, 0, markets=markets, holidays=())).is_complete
