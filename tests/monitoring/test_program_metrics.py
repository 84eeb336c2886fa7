"""The metrics that every program has: build, event loop and dropped log lines."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from ime_live.monitoring.program_metrics import ProgramMetrics
from tests.support.clock import FakeClock


def test_labels_of_the_build_are_exported() -> None:
    registry = CollectorRegistry()
    ProgramMetrics(registry, "version", "commit").set_build(version="1.2", commit="abc")
    labels = {"version": "1.2", "commit": "abc"}
    assert registry.get_sample_value("ime_live_build_info", labels) == 1


def test_dropped_log_lines_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    metrics = ProgramMetrics(registry)
    for total in (3, 3, 5):
        monkeypatch.setattr(
            "ime_live.monitoring.program_metrics.lines_dropped", lambda total=total: total
        )
        metrics.sync()
        assert registry.get_sample_value("ime_live_log_lines_dropped_total") == total


@pytest.mark.parametrize(("late", "lag"), [(0.25, 0.25), (-0.25, 0)])
async def test_lag_of_the_event_loop_is_the_delay_of_a_wait(
    monkeypatch: pytest.MonkeyPatch, late: float, lag: float
) -> None:
    registry, clock = CollectorRegistry(), FakeClock()
    metrics = ProgramMetrics(registry, clock=clock)
    sleep = asyncio.sleep

    async def wait(seconds: float) -> None:
        clock.now += seconds + late
        await sleep(0)

    monkeypatch.setattr("ime_live.monitoring.program_metrics.asyncio.sleep", wait)
    await metrics.measure_loop()
    assert metrics.loop_lag == pytest.approx(lag)
    metrics.sync()
    exported = registry.get_sample_value("ime_live_event_loop_lag_seconds")
    assert exported == pytest.approx(lag)
