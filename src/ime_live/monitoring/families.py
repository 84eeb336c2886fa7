"""Make metrics during a scrape, from numbers that a program has anyway."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily


def gauge(name: str, text: str, value: float) -> Metric:
    """Return a gauge without labels; ``ime_live_`` is added to the name."""
    return GaugeMetricFamily(f"ime_live_{name}", text, value=value)


def counter(name: str, text: str, value: float) -> Metric:
    """Return a counter without labels; ``ime_live_`` and ``_total`` are added to the name."""
    return CounterMetricFamily(f"ime_live_{name}", text, value=value)


def gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    """Return a gauge with one label; ``values`` has the values of the label as keys."""
    family = GaugeMetricFamily(f"ime_live_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    """Return a counter with one label; ``values`` has the values of the label as keys."""
    family = CounterMetricFamily(f"ime_live_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
