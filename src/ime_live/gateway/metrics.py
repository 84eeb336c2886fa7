"""Prometheus metrics of a gateway process.

The hot path adds to plain numbers, which `Metrics.sync` adds to the exported metrics once a second
and before each scrape. So an event costs one addition. With several workers, the Prometheus library
adds up their metrics (multiprocess mode, if `PROMETHEUS_MULTIPROC_DIR` is set).
"""

from __future__ import annotations

import os
from collections import Counter as Tally
from typing import TYPE_CHECKING, Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    generate_latest,
)
from prometheus_client.multiprocess import mark_process_dead

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import CloseCode
from ime_live.gateway.drain import DrainState
from ime_live.gateway.limits.stream_limits import REASONS
from ime_live.gateway.worker_metrics import MULTIPROCESS_VARIABLE, WorkersCollector
from ime_live.market import MICROSECONDS
from ime_live.monitoring.histograms import SecondsHistogram
from ime_live.monitoring.program_metrics import ProgramMetrics
from ime_live.status import FeedState, FeedStatus

if TYPE_CHECKING:
    from ime_live.gateway.hub.subscriber import Subscriber

# Close codes of the gateway, and those of clients that leave, with or without a close frame.
_CODES: Final = frozenset({*CloseCode, 1000, 1001, 1005, 1006})


class Metrics:
    """The metrics of one process; also the hub's `Events`."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        """Make metrics at zero.

        Args:
            clock: the clock of market data, for the lag.
        """
        self._clock = clock
        self._multiprocess = MULTIPROCESS_VARIABLE in os.environ
        # In multiprocess mode the values are in files, which the registry of a scrape reads.
        self._registry = CollectorRegistry()
        registry = None if self._multiprocess else self._registry
        self.connections = 0
        self.contracts = 0
        self.ready = False
        self.drain_state = DrainState.SERVING
        self.store_connected = False
        self.feed: FeedStatus | None = None
        self.received = 0
        self._delivered = 0
        self._conflated = 0
        self._throttled = 0
        self._dropped: Tally[str] = Tally()
        self._opened = 0
        self._closed: Tally[tuple[int, str]] = Tally()
        self._refused: Tally[str] = Tally()
        self.waiting = 0
        """Unsent data for slow clients [bytes]."""
        self._write_failures = 0
        self._statuses = 0
        self._requests: Tally[tuple[str, int]] = Tally()
        self._failures: Tally[str] = Tally()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"ime_live_{name}", text, labels, registry=registry)

        def gauge(
            name: str,
            text: str,
            *labels: str,
            mode: Literal["livesum", "livemax", "livemostrecent"] = "livesum",
        ) -> Gauge:
            return Gauge(
                f"ime_live_{name}", text, labels, registry=registry, multiprocess_mode=mode
            )

        self._connections_now = gauge(
            "connections", "Open streams: WebSockets and server-sent events."
        )
        self._contracts_now = gauge("contracts_subscribed", "Contracts with a subscriber.")
        self._workers_ready = gauge(
            "workers_ready",
            "Workers that are ready: serving, connected to Redis, with the contracts loaded.",
        )
        self._workers = gauge(
            "workers",
            "Workers by state: serving, draining (closing their streams) or drained.",
            "state",
        )
        self._stores_connected = gauge(
            "store_connected", "Processes whose subscriptions to Redis are connected."
        )
        # All workers read the same feed, some slightly earlier than others.
        self._feed_state = gauge(
            "feed_state",
            "1 for the present state of the feed, 0 for the others; all 0 without a feed.",
            "state",
            mode="livemostrecent",
        )
        self._last_board = gauge(
            "feed_last_board_seconds",
            "Time at which the last board of a market arrived [Unix seconds].",
            "market",
            mode="livemostrecent",
        )
        self._feed_lag = gauge(
            "feed_lag_seconds",
            "Delay of the boards, measured by their timestamps [seconds]; NaN if unknown.",
            mode="livemostrecent",
        )
        self._connections_total = counter("connections_opened", "Streams that were opened.")
        self._closes_total = counter(
            "connections_closed",
            "Streams that were closed, by close code and reason.",
            "code",
            "reason",
        )
        self._refused_total = counter(
            "connections_refused",
            "Streams that were refused, by reason, such as a limit, the token or the contracts.",
            "reason",
        )
        self._waiting_now = gauge("waiting_bytes", "Unsent data for slow clients [bytes].")
        self._updates_total = counter("updates_received", "Messages received from Redis.")
        self._dropped_total = counter(
            "updates_dropped",
            "Messages that were not forwarded, by reason: equal, stale or malformed.",
            "reason",
        )
        self._delivered_total = counter("deliveries", "Messages written to clients.")
        self._conflated_total = counter(
            "conflated", "Messages replaced by newer ones before a slow client received them."
        )
        self._throttled_total = counter(
            "throttled", "Messages replaced by newer ones because of a client's max_rate."
        )
        self._statuses_total = counter("status_messages", "Status messages written to clients.")
        self._requests_total = counter(
            "requests",
            "REST requests, by path and HTTP status.",
            "call",
            "status",
        )
        self._failures_total = counter("write_failures", "Writes to a client that failed.")
        self._parts_total = counter(
            "part_failures", "Failures of background tasks, which were restarted, by part.", "part"
        )
        self._lag = SecondsHistogram(
            "ime_live_lag_seconds",
            "Time from the version of an update to its sending [seconds], of the oldest per tick.",
            registry=registry,
        )
        self._durations = SecondsHistogram(
            "ime_live_request_duration_seconds",
            "Time from a REST request to its response [seconds], by path.",
            "call",
            registry=registry,
        )
        self.program = ProgramMetrics(registry, "version", "commit", "fanout")
        """The metrics that all programs have."""
        for reason in ("equal", "stale", "malformed"):
            self._dropped_total.labels(reason)
        for reason in (*REASONS, "draining", "origin", "authentication", "contracts"):
            self._refused_total.labels(reason)

    # Interface `Events` of the hub

    def delivered(self, messages: int, oldest_version: int) -> None:
        """Count written messages; the version is that of the oldest, 0 to not measure its age."""
        self._delivered += messages
        if oldest_version:
            self._lag.observe(max(0, self._clock.time_us() - oldest_version) / 1e6)

    def conflated(self, messages: int) -> None:
        """Count messages that newer ones replaced before a slow client could accept them."""
        self._conflated += messages

    def throttled(self, messages: int) -> None:
        """Count messages that newer ones replaced because of the client's `max_rate`."""
        self._throttled += messages

    def dropped(self, reason: str) -> None:
        """Count an update that was not forwarded."""
        self._dropped[reason] += 1

    def failed(self, subscriber: Subscriber, error: Exception) -> None:
        """Count a write that raised."""
        del subscriber, error
        self._write_failures += 1

    # Events of the gateway

    def count_received(self) -> None:
        """Count a message from the store."""
        self.received += 1

    def count_malformed(self) -> None:
        """Count a message that could not be read."""
        self._dropped["malformed"] += 1

    def count_status(self) -> None:
        """Count a status message."""
        self._statuses += 1

    def count_request(self, call: str, status: int, seconds: float) -> None:
        """Count a REST request and its duration [s]; ``call`` must be one of a few paths."""
        self._requests[call, status] += 1
        self._durations.observe(seconds, call)

    def count_failure(self, part: str) -> None:
        """Count the failure of a background task; ``part`` must be one of a fixed set."""
        self._failures[part] += 1

    def opened(self) -> None:
        """Count an opened stream."""
        self.connections += 1
        self._opened += 1

    def closed(self, code: int, reason: str) -> None:
        """Count a closed stream; ``reason`` must be one of a fixed set, and no text of a client."""
        self.connections -= 1
        # A client may send any code, and each code would be a time series of its own.
        self._closed[code if code in _CODES else 0, reason] += 1

    def refused(self, reason: str) -> None:
        """Count a refused stream; ``reason`` must be one of a fixed set."""
        self._refused[reason] += 1

    def sync(self) -> None:
        """Add the counts to the exported metrics."""
        self._connections_now.set(self.connections)
        self._contracts_now.set(self.contracts)
        self._workers_ready.set(self.ready)
        for drain_state in DrainState:
            self._workers.labels(drain_state.value).set(self.drain_state is drain_state)
        self._stores_connected.set(self.store_connected)
        for state in FeedState:
            self._feed_state.labels(state.value).set(
                self.feed is not None and self.feed.state is state
            )
        if self.feed is not None:
            self._feed_lag.set(float("nan") if self.feed.lag is None else self.feed.lag)
        for market, status in (self.feed.markets if self.feed is not None else {}).items():
            if status.last_board is not None:
                self._last_board.labels(market.value).set(status.last_board / MICROSECONDS)
        self._connections_total.inc(self._opened)
        self._updates_total.inc(self.received)
        self._delivered_total.inc(self._delivered)
        self._conflated_total.inc(self._conflated)
        self._throttled_total.inc(self._throttled)
        self._statuses_total.inc(self._statuses)
        self._failures_total.inc(self._write_failures)
        self._lag.sync()
        self._durations.sync()
        self.program.sync()
        self._opened = self.received = 0
        self._delivered = self._conflated = self._throttled = self._write_failures = 0
        self._statuses = 0
        for reason, count in self._dropped.items():
            self._dropped_total.labels(reason).inc(count)
        for (code, reason), count in self._closed.items():
            self._closes_total.labels(str(code or "other"), reason).inc(count)
        self._waiting_now.set(self.waiting)
        for reason, count in self._refused.items():
            self._refused_total.labels(reason).inc(count)
        self._refused.clear()
        for (call, http_status), count in self._requests.items():
            self._requests_total.labels(call, str(http_status)).inc(count)
        for part, count in self._failures.items():
            self._parts_total.labels(part).inc(count)
        self._failures.clear()
        self._requests.clear()
        self._dropped.clear()
        self._closed.clear()

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus's text format, summed over all workers."""
        self.sync()
        if not self._multiprocess:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        WorkersCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)

    def close(self) -> None:
        """Remove the gauges of this process from the sums, because it ends."""
        if self._multiprocess:
            mark_process_dead(os.getpid())  # type: ignore[no-untyped-call]
