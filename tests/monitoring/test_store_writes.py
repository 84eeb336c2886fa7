"""Metrics of writes to the store: durations and failures."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from ime_live.errors import FencedError, StoreError
from ime_live.monitoring.store_writes import StoreWrites
from tests.support.clock import FakeClock


def attempt(writes: StoreWrites, clock: FakeClock, error: Exception | None = None) -> None:
    try:
        with writes.measured():
            clock.now += 0.02
            if error is not None:
                raise error
    except StoreError:
        assert error is not None


def test_writes_are_measured_and_failures_counted_by_reason() -> None:
    clock = FakeClock()
    writes = StoreWrites(clock)
    for error in (None, None, FencedError("no", token=2), StoreError("no")):
        attempt(writes, clock, error)
    registry = CollectorRegistry()
    registry.register(writes)
    name = "ime_live_store_write"
    for _ in range(2):  # a scrape changes nothing
        assert registry.get_sample_value(f"{name}_duration_seconds_count") == 2
        assert registry.get_sample_value(f"{name}_duration_seconds_bucket", {"le": "0.01"}) == 0
        assert registry.get_sample_value(f"{name}_duration_seconds_bucket", {"le": "0.025"}) == 2
        for reason in ("not_leading", "store"):
            assert registry.get_sample_value(f"{name}_failures_total", {"reason": reason}) == 1
