"""Families of metrics: their names and labels as Prometheus reads them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Metric, generate_latest

from ime_live.monitoring.families import counter, counters, gauge, gauges


class Collected:
    """Metrics as a program makes them at a scrape."""

    def collect(self) -> list[Metric]:
        return [
            gauge("lag_seconds", "A gauge.", 1.5),
            counter("frames_received", "A counter.", 3),
            gauges("connected", "By source.", "source", {"polling": 0, "webSockets": 1}),
            counters("failures", "By reason.", "reason", {'a "b"': 2}),
            counters("none", "Without values.", "reason", {}),
        ]


def test_families_have_prefix_type_and_labels() -> None:
    registry = CollectorRegistry()
    registry.register(Collected())
    assert generate_latest(registry).decode().splitlines() == [
        "# HELP ime_live_lag_seconds A gauge.",
        "# TYPE ime_live_lag_seconds gauge",
        "ime_live_lag_seconds 1.5",
        "# HELP ime_live_frames_received_total A counter.",
        "# TYPE ime_live_frames_received_total counter",
        "ime_live_frames_received_total 3.0",
        "# HELP ime_live_connected By source.",
        "# TYPE ime_live_connected gauge",
        'ime_live_connected{source="polling"} 0.0',
        'ime_live_connected{source="webSockets"} 1.0',
        "# HELP ime_live_failures_total By reason.",
        "# TYPE ime_live_failures_total counter",
        'ime_live_failures_total{reason="a \\"b\\""} 2.0',
        "# HELP ime_live_none_total Without values.",
        "# TYPE ime_live_none_total counter",
    ]
