"""Metrics of all programs: build, event loop, log and process."""

from __future__ import annotations

import asyncio
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.logs import lines_dropped
from ime_live.monitoring.process_usage import ProcessUsage

# The creation times of counters are of no use here, and double the output.
disable_created_metrics()  # type: ignore[no-untyped-call]

INTERVAL: Final = 1.0
"""Time over which the delay of the event loop is measured [s]."""


class ProgramMetrics:
    """Metrics that gateway, feed and bars have in common."""

    def __init__(
        self, registry: CollectorRegistry | None, *build: str, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        """Create the metrics.

        Args:
            registry: registry of the metrics; None in multiprocess mode.
            build: names of the labels of the metric ``build_info``.
            clock: the machine's clock.
        """
        self._clock = clock
        self.loop_lag = 0.0
        """Delay of the event loop in the last second [s]."""
        self._log_lines_counted = 0
        self._loop_lag = Gauge(
            "ime_live_event_loop_lag_seconds",
            "Delay of the event loop in the last second [seconds], of the slowest process.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._build_info = Gauge(
            "ime_live_build_info",
            "Always 1. Labels: the version, the commit if it is known, and for gateways the "
            "language of the fan-out (c or python).",
            build,
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._log_lines_total = Counter(
            "ime_live_log_lines_dropped",
            "Log lines that were dropped, because the queue was full or they could not be written.",
            registry=registry,
        )
        self._usage = ProcessUsage(registry)

    def set_build(self, **labels: str) -> None:
        """Set the labels of the metric ``build_info``."""
        self._build_info.labels(**labels).set(1)

    async def measure_loop(self) -> None:
        """Measure the delay of the event loop, for `INTERVAL` seconds."""
        due = self._clock.monotonic() + INTERVAL
        await asyncio.sleep(INTERVAL)
        self.loop_lag = max(0.0, self._clock.monotonic() - due)

    def sync(self) -> None:
        """Set the exported metrics to the present values."""
        self._loop_lag.set(self.loop_lag)
        dropped = lines_dropped()
        self._log_lines_total.inc(dropped - self._log_lines_counted)
        self._log_lines_counted = dropped
        self._usage.sync()
