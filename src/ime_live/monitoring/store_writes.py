"""Measure a program's writes to the store: how long they take, and why they fail."""

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
    """Counts the writes of a program that may lead."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        """Create the metrics; ``clock`` is the machine's clock."""
        self._clock = clock
        self._registry = CollectorRegistry()
        self._seconds = SecondsHistogram(
            "ime_live_store_write_duration_seconds",
            "Time of a write to Redis that was answered, of one or many contracts [seconds].",
            registry=self._registry,
        )
        self.failures: Tally[str] = Tally({"not_leading": 0, "store": 0})
        """By reason: refused because another process leads, or not carried out by Redis."""

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure the write in the block, and count its failure."""
        begin = self._clock.monotonic()
        try:
            yield
        except StoreError as error:
            self.count_failure(error)
            raise
        self._seconds.observe(self._clock.monotonic() - begin)

    def count_failure(self, error: StoreError) -> None:
        """Count a write that failed."""
        self.failures["not_leading" if isinstance(error, FencedError) else "store"] += 1

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        self._seconds.sync()
        yield from self._registry.collect()
        yield counters(
            "store_write_failures",
            "Writes to Redis that failed: because another process leads, or because of Redis.",
            "reason",
            self.failures,
        )
