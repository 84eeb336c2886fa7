"""The metrics of a feed, with a scripted exchange."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import CollectorRegistry

from ime_live.feeds.boards.newest import NewestBoards
from ime_live.feeds.ime.frame_source import ConnectionState
from ime_live.feeds.pipeline.feed import Feed
from ime_live.feeds.pipeline.feed_metrics import FeedMetrics
from ime_live.feeds.pipeline.fenced import FencedWriter
from ime_live.feeds.pipeline.registrar import Registrar
from tests.feeds.pipeline.test_feed import FUTURES, Exchange, Ran, frame, receipts, run
from tests.support.boards import board, row


def metrics_of(feed: Feed) -> FeedMetrics:
    """Metrics of a feed, whose writer has not written anything."""
    store: Any = None
    return FeedMetrics(feed, FencedWriter(store, Registrar(store), NewestBoards()))


def ran() -> Ran:
    """A feed that has read good frames and bad ones, over two connections."""
    exchange = Exchange()
    futures = frame(board(FUTURES, row("future"), {"ContractID": None}))

    def reconnect() -> None:
        exchange.connection_state = ConnectionState("longPolling", since=2.0)

    return asyncio.run(run(exchange, futures, b"<html>", reconnect, receipts(), futures))


def test_metrics_show_boards_faults_connections_and_leadership() -> None:
    feed = ran().feed
    registry = CollectorRegistry()
    registry.register(metrics_of(feed))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"ime_live_{name}", labels)

    assert value("boards_received_total", board=FUTURES) == 2
    assert value("frames_received_total") == 3
    assert value("feed_faults_total", kind="frame") == 1
    assert value("feed_faults_total", kind="row") == 2
    assert value("feed_faults_total", kind="state") == 0
    assert value("exchange_connections_total") == 2
    assert value("exchange_connected", source="longPolling") == 1
    assert value("exchange_connected", source="webSockets") == 0
    assert value("feed_last_board_seconds", market="IMEFutures") is not None
    assert value("feed_last_board_seconds", market="IMEOption") is None
    assert value("leaderships_total") == 1
    assert value("store_connected") == 1
    assert value("states_published_total") == 2
    assert value("registry_read_seconds") == 0


def test_feed_is_ready_while_it_reaches_the_exchange_and_the_store() -> None:
    exchange = Exchange()
    feed = asyncio.run(run(exchange, receipts())).feed
    metrics = metrics_of(feed)
    assert metrics.not_ready() is None
    exchange.connection_state = ConnectionState()
    assert metrics.not_ready() == "the exchange cannot be reached"
    feed.leadership.reached = False
    assert metrics.not_ready() == "Redis cannot be reached"
