"""Histograms that are filled in batches hold the same as those of the library."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram, generate_latest

# It leaves out the times at which metrics were created.
import ime_live.monitoring.program_metrics  # noqa: F401
from ime_live.monitoring.histograms import BUCKETS, SecondsHistogram

TIMES = [0.0, 0.001, 0.0011, 0.25, 9.9, 10.0, 11.0]


def test_batches_are_exported_as_single_observations_are() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    batched = SecondsHistogram("x_seconds", "Text.", "call", registry=ours)
    single = Histogram("x_seconds", "Text.", ["call"], registry=theirs, buckets=BUCKETS)
    for _ in range(2):  # a batch is added to the one before
        for n, seconds in enumerate(TIMES):
            batched.observe(seconds, f"/{n % 2}")
            single.labels(f"/{n % 2}").observe(seconds)
        batched.sync()
        batched.sync()  # with nothing new
    assert generate_latest(ours) == generate_latest(theirs)


def test_histogram_without_labels_is_exported_before_its_first_observation() -> None:
    registry = CollectorRegistry()
    batched = SecondsHistogram("x_seconds", "Text.", registry=registry)
    assert registry.get_sample_value("x_seconds_count") == 0
    batched.observe(0.5)
    assert registry.get_sample_value("x_seconds_count") == 0
    batched.sync()
    assert registry.get_sample_value("x_seconds_count") == 1
