"""Metrics of a process in the format of Prometheus."""

from __future__ import annotations

import math

import pytest
from msgspec.structs import replace
from prometheus_client import Histogram
from prometheus_client.parser import text_string_to_metric_families

from ime_live.contracts import Market
from ime_live.errors import CloseCode
from ime_live.gateway.metrics import Metrics
from ime_live.monitoring import program_metrics
from ime_live.monitoring.histograms import BUCKETS
from ime_live.status import FeedState, FeedStatus, MarketStatus
from tests.support.clock import GivenClock

NOW = 1_780_000_000_000_000


def samples(exposition: bytes) -> dict[str, float]:
    """All samples, as ``name{label=value}``, in the order of the labels."""
    found = {}
    for family in text_string_to_metric_families(exposition.decode()):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[sample.name.removeprefix("ime_live_") + f"{{{labels}}}"] = sample.value
    return found


def test_metrics_of_a_new_process_are_zero() -> None:
    found = samples(Metrics(GivenClock(lambda: NOW)).exposition())
    ours = {name: value for name, value in found.items() if not name.startswith("process_")}
    assert ours.pop("workers{state=serving}") == 1.0
    assert set(ours.values()) == {0.0}
    for reason in ("equal", "stale", "malformed"):
        assert f"updates_dropped_total{{reason={reason}}}" in found
    assert not any("created" in name for name in found)


def test_build_info_has_version_labels() -> None:
    metrics = Metrics(GivenClock(lambda: NOW))
    metrics.program.set_build(version="1.2.3", commit="f0cd5d8", fanout="c")
    found = samples(metrics.exposition())
    assert found["build_info{commit=f0cd5d8,fanout=c,version=1.2.3}"] == 1


def test_events_are_counted_once() -> None:
    metrics = Metrics(GivenClock(lambda: NOW))
    for _ in range(2):
        metrics.opened()
        metrics.count_received()
    metrics.closed(int(CloseCode.POLICY_VIOLATION), "unknown contract")
    metrics.count_malformed()
    metrics.dropped("equal")
    metrics.delivered(5, NOW - 2000)
    metrics.delivered(3, 0)
    metrics.conflated(4)
    metrics.contracts = 7
    metrics.ready = True
    for _ in range(2):  # a second reading adds nothing
        found = samples(metrics.exposition())
        assert found["connections{}"] == 1
        assert found["connections_opened_total{}"] == 2
        assert found["connections_closed_total{code=1008,reason=unknown contract}"] == 1
        assert found["updates_received_total{}"] == 2
        assert found["updates_dropped_total{reason=malformed}"] == 1
        assert found["updates_dropped_total{reason=equal}"] == 1
        assert found["updates_dropped_total{reason=stale}"] == 0
        assert found["deliveries_total{}"] == 8
        assert found["conflated_total{}"] == 4
        assert found["contracts_subscribed{}"] == 7
        assert found["workers_ready{}"] == 1
        assert found["lag_seconds_count{}"] == 1
        assert found["lag_seconds_sum{}"] == 0.002
    metrics.delivered(1, NOW + 1000)  # the publisher's clock is ahead
    assert samples(metrics.exposition())["lag_seconds_sum{}"] == 0.002


def test_metrics_show_the_feed() -> None:
    metrics = Metrics(GivenClock(lambda: NOW))
    metrics.count_status()
    futures = MarketStatus(FeedState.LIVE, last_board=NOW)
    metrics.feed = FeedStatus(
        FeedState.STALE,
        since=NOW,
        markets={Market.FUTURES: futures, Market.OPTION: MarketStatus(FeedState.CLOSED)},
    )
    found = samples(metrics.exposition())
    states = {name: value for name, value in found.items() if name.startswith("feed_state")}
    assert states == {
        f"feed_state{{state={state}}}": state == "stale"
        for state in ("live", "stale", "closed", "down")
    }
    assert found["feed_last_board_seconds{market=IMEFutures}"] == NOW / 1e6
    assert "feed_last_board_seconds{market=IMEOption}" not in found
    assert found["status_messages_total{}"] == 1
    assert math.isnan(found["feed_lag_seconds{}"])
    metrics.feed = replace(metrics.feed, lag=34.5)
    assert samples(metrics.exposition())["feed_lag_seconds{}"] == 34.5
    metrics.feed = None
    found = samples(metrics.exposition())
    assert not any(value for name, value in found.items() if name.startswith("feed_state"))


def test_requests_by_call_and_status() -> None:
    metrics = Metrics(GivenClock(lambda: NOW))
    for status in (200, 200, 429):
        metrics.count_request("/live/data/overview/contract/id", status, 0.004)
    for _ in range(2):  # nothing is counted twice
        found = samples(metrics.exposition())
        requests = {name: value for name, value in found.items() if name.startswith("requests")}
        assert requests == {
            "requests_total{call=/live/data/overview/contract/id,status=200}": 2,
            "requests_total{call=/live/data/overview/contract/id,status=429}": 1,
        }


def test_failures_of_parts_and_lost_log_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped = 7  # in all, as the log counts them
    monkeypatch.setattr(program_metrics, "lines_dropped", lambda: dropped)
    metrics = Metrics(GivenClock(lambda: NOW))
    metrics.count_failure("feed")
    metrics.count_failure("feed")
    for _ in range(2):
        found = samples(metrics.exposition())
        assert found["part_failures_total{part=feed}"] == 2
        assert found["log_lines_dropped_total{}"] == 7
    dropped = 9
    assert samples(metrics.exposition())["log_lines_dropped_total{}"] == 9


def test_clients_cannot_create_metric_series() -> None:
    metrics = Metrics(GivenClock(lambda: NOW))
    for code in range(3000, 3100):
        metrics.closed(code, "client left")
    metrics.closed(1000, "client left")
    found = samples(metrics.exposition())
    closes = {name: value for name, value in found.items() if name.startswith("connections_closed")}
    assert closes == {
        "connections_closed_total{code=other,reason=client left}": 100,
        "connections_closed_total{code=1000,reason=client left}": 1,
    }


def test_lags_are_counted_in_the_buckets_of_the_prometheus_library() -> None:
    lags = (0, 999, 1000, 1001, 2_500_000, 10_000_000, 10_000_001)
    metrics = Metrics(GivenClock(lambda: NOW))
    expected = Histogram("x", "", registry=None, buckets=BUCKETS)

    for lag in lags:
        metrics.delivered(1, NOW - lag)
        expected.observe(lag / 1e6)

    found = samples(metrics.exposition())
    [family] = expected.collect()
    for sample in family.samples:
        if sample.name == "x_bucket":
            assert found[f"lag_seconds_bucket{{le={sample.labels['le']}}}"] == sample.value
