"""Metrics of a feed: whether it receives boards, publishes them, and leads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import Metric

from ime_live.feeds.pipeline.feed import Feed
from ime_live.feeds.pipeline.fenced import FencedWriter
from ime_live.market import MICROSECONDS
from ime_live.monitoring.families import counter, counters, gauge, gauges
from ime_live.status import FeedState

SOURCES: Final = ("webSockets", "serverSentEvents", "longPolling", "polling")
"""Sources of boards; see `ime_live.feeds.ime.frame_source.ConnectionState`."""


class FeedMetrics:
    """The metrics of a feed; see `ime_live.monitoring.monitor.Monitored`."""

    def __init__(self, feed: Feed, writer: FencedWriter) -> None:
        """Create the metrics of a feed and of its writer."""
        self._feed = feed
        self._writer = writer

    def not_ready(self) -> str | None:
        """Return why nothing could be published; a standby without a fault is ready."""
        if not self._feed.leadership.reached:
            return "Redis cannot be reached"
        if self._feed.status().state is FeedState.DOWN:
            return "the exchange cannot be reached"
        return None

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as they are now."""
        yield from self._of_exchange()
        yield from self._of_store()

    def _of_exchange(self) -> Iterable[Metric]:
        feed, status = self._feed, self._feed.status()
        yield gauges(
            "feed_state",
            "1 for the present state of the feed, 0 for the others; all 0 without a feed.",
            "state",
            {state.value: float(state is status.state) for state in FeedState},
        )
        yield gauges(
            "feed_last_board_seconds",
            "Time at which the last board of a market arrived [Unix seconds].",
            "market",
            {
                market.value: market_status.last_board / MICROSECONDS
                for market, market_status in status.markets.items()
                if market_status.last_board is not None
            },
        )
        yield gauge(
            "feed_lag_seconds",
            "Delay of the boards, measured by their timestamps [seconds]; NaN if unknown.",
            float("nan") if status.lag is None else status.lag,
        )
        yield gauges(
            "exchange_connected",
            "1 for the source from which boards are read now, 0 for the others; all 0 without one.",
            "source",
            {source: float(source == status.source) for source in SOURCES},
        )
        yield counter(
            "exchange_connections",
            "Connections to the exchange, including resumed ones.",
            feed.health.connections,
        )
        yield counter(
            "frames_received", "Frames of the exchange that were read.", feed.totals.frames
        )
        yield counters(
            "boards_received", "Boards in these frames, by method.", "board", feed.health.boards
        )
        yield counter("rows_received", "Rows of these boards.", feed.totals.rows)
        yield counters(
            "feed_faults",
            "Data that was left out, by kind: unreadable frames, rows and fields, late rows, "
            "states that were refused, and frames that were not recorded.",
            "kind",
            {**feed.faults, "state": self._refused_states()},
        )

    def _refused_states(self) -> int:
        faults = self._feed.faults
        return self._feed.totals.refused - faults["row"] - faults["late"]

    def _of_store(self) -> Iterable[Metric]:
        feed, leadership = self._feed, self._feed.leadership
        yield gauge(
            "leader",
            "1 while this process leads and writes, 0 while it stands by.",
            leadership.leads,
        )
        yield counter(
            "leaderships", "Number of times that this process became the leader.", leadership.begun
        )
        yield gauge("store_connected", "1 while Redis answers, else 0.", leadership.reached)
        yield counter(
            "states_published", "States that were published as changes.", feed.totals.published
        )
        yield counter(
            "states_unchanged", "Rows that did not change a state.", feed.totals.unchanged
        )
        yield gauge(
            "registry_read_seconds",
            "Time at which contracts were last compared with the registry [Unix seconds]; 0 for "
            "never, as of a standby.",
            self._writer.registry_read,
        )
        yield from self._writer.writes.collect()
