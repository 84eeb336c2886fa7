"""Settings of the feed: their defaults can be used, and their former names are known."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from ime_live.contracts import Market
from ime_live.feeds.boards.field_map import BOARDS
from ime_live.feeds.boards.price_limits import read_boards, read_price_limits
from ime_live.feeds.ime.signalr import TransportName, read_transports
from ime_live.feeds.pipeline.hours import TradingHours
from ime_live.settings import FeedSettings, RecorderSettings, options
from ime_live.timezones import TEHRAN, zone_of
from tests.support.rows import each_row


def at(text: str) -> int:
    """Microseconds since the epoch at a time in Tehran."""
    moment = datetime.fromisoformat(text).replace(tzinfo=zone_of(TEHRAN))
    return round(moment.timestamp() * 1e6)


def test_defaults_name_all_boards_and_transports() -> None:
    settings = FeedSettings()
    assert read_boards(settings.boards) == set(BOARDS)
    assert list(read_transports(settings.transports)) == list(TransportName)
    assert set(read_price_limits(settings.price_limits)) == {"SIL", "SAF"}


@each_row("market", Market)
def test_default_hours_have_a_session_on_working_days(market: Market) -> None:
    hours = TradingHours(FeedSettings(), zone_of(TEHRAN))
    assert hours.in_session(market, at("2026-11-28T12:00"))  # a Saturday
    assert not hours.in_session(market, at("2026-11-28T18:00"))
    assert not hours.in_session(market, at("2026-11-27T12:00"))


@pytest.mark.parametrize("settings", [FeedSettings, RecorderSettings])
def test_renamed_options_keep_their_former_names(settings: type[Any]) -> None:
    former = {each.name: each.metadata["former"] for each in options(settings)}
    assert former["polling_url"] == "boards_url"
    assert former["max_reconnect_delay"] == "retry_limit"
    assert former["polling_interval"] == "poll"
