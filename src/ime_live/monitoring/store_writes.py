"""Metrics of writes to the store: durations, and failures by reason."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Metric

from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import FencedError, StoreError
from ime_live.monitoring.families import counters
from ime_live.monitoring.histograms import SecondsHistogram


class StoreWrites:
    """Counts the writes of a program with a lease."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        """Start at zero.

        Args:
            clock: the machine's clock.
        """
        self._clock = clock
        self._registry = CollectorRegistry()
        self._seconds = SecondsHistogram(
            "ime_live_store_write_duration_seconds",
            "Duration of a write to Redis, of one or many contracts [seconds].",
            registry=self._registry,
        )
        self.failures: Tally[str] = Tally({"not_leading": 0, "store": 0})
        """Number of failures by reason: another process is the leader, or a fault of Redis."""

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure the write in the block, and count its failure."""
        began_at = self._clock.monotonic()
        try:
            yield
        except StoreError as error:
            self.count_failure(error)
            raise
        self._seconds.observe(self._clock.monotonic() - began_at)

    def count_failure(self, error: StoreError) -> None:
        """Count a write that failed."""
        self.failures["not_leading" if isinstance(error, FencedError) else "store"] += 1

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        self._seconds.sync()
        yield from self._registry.collect()
        yield counters(
            "store_write_failures",
            "Failed writes to Redis, by reason: another process is the leader, or Redis failed.",
            "reason",
            self.failures,
        )
