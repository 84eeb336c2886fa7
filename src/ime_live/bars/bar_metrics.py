"""Metrics of the bar aggregator: whether it reads the streams, writes bars, and leads."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric

from ime_live.bars.aggregator import BarAggregator
from ime_live.monitoring.families import counter, gauge


class BarMetrics:
    """The metrics of a bar aggregator; see `ime_live.monitoring.monitor.Monitored`."""

    def __init__(self, aggregator: BarAggregator) -> None:
        """Create the metrics of an aggregator."""
        self._aggregator = aggregator

    def not_ready(self) -> str | None:
        """Return why bars are not kept; a standby that reads all streams is ready."""
        if not (self._aggregator.connected and self._aggregator.leadership.reached):
            return "Redis cannot be reached"
        return None if self._aggregator.follows else "missed states are not read yet"

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as they are now."""
        bars, leadership = self._aggregator, self._aggregator.leadership
        yield gauge(
            "leader",
            "1 while this process leads and writes, 0 while it stands by.",
            leadership.leads,
        )
        yield counter(
            "leaderships", "Number of times that this process became the leader.", leadership.begun
        )
        yield gauge(
            "store_connected",
            "1 while Redis answers, else 0.",
            bars.connected and leadership.reached,
        )
        yield gauge(
            "streams_followed",
            "1 while all states of all contracts are read, else 0.",
            bars.follows,
        )
        yield gauge("bars_contracts", "Contracts whose bars are kept.", bars.contracts)
        yield gauge(
            "bars_contracts_refused", "Contracts whose stream Redis refuses to send.", bars.unread
        )
        yield gauge(
            "registry_read_seconds",
            "Time at which the contracts were last read [Unix seconds]; 0 for never.",
            bars.registry_read,
        )
        yield counter("updates_received", "Messages received from Redis.", bars.received)
        yield counter("bars_refused", "States that could not be read.", bars.refused)
        yield counter(
            "bars_changed", "Changes of bars, by trades and corrections.", bars.writer.changes
        )
        yield counter(
            "bars_written", "Bars that were written, some of them again.", bars.writer.written
        )
        yield counter(
            "bars_restored",
            "Days of a contract that the store had lost or changed, and that were written again.",
            bars.writer.lost,
        )
        yield gauge(
            "bars_written_seconds",
            "Time at which bars were written last [Unix seconds]; 0 for never, as of a standby.",
            bars.writer.written_at,
        )
        yield gauge(
            "bars_lag_seconds",
            "Time since the oldest change that is not written [seconds]; 0 without one.",
            bars.writer.lag,
        )
        yield from bars.writer.writes.collect()
