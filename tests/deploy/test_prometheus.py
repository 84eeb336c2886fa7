"""Prometheus: names of metrics, rules and the dashboard, by promtool and against the code."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import pytest
import yaml  # type: ignore[import-untyped] # it has no types, nor do we need them
from prometheus_client.parser import text_string_to_metric_families

from ime_live.bars.aggregator import BarAggregator
from ime_live.bars.bar_metrics import BarMetrics
from ime_live.gateway.metrics import Metrics
from ime_live.monitoring.monitor import Monitor
from ime_live.settings import BarsSettings
from ime_live.status import FeedState, FeedStatus
from tests.deploy.conftest import DEPLOY
from tests.feeds.pipeline.test_feed_metrics import metrics_of, ran
from tests.support.paths import ROOT
from tests.support.rows import each_row

RULES: Final = DEPLOY / "prometheus" / "rules.yaml"
OPERATIONS: Final = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
DASHBOARD: Any = json.loads((DEPLOY / "grafana" / "ime-live.json").read_text())
LABELS_OF_PROMETHEUS: Final = {"instance", "job", "le", "alertstate", "alertname"}


def _promtool(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    return subprocess.run(  # noqa: S603 - our own command
        [program, *arguments],
        input=given,
        capture_output=True,
        check=False,
        timeout=60,
        cwd=RULES.parent,
    )


@cache
def _exposition() -> bytes:
    """The metrics of all programs; of a metric that several have, that of the gateway."""
    return b"".join(_expositions().values())


@cache
def _expositions() -> dict[str, bytes]:
    async def of_bars() -> bytes:
        aggregator = BarAggregator(BarsSettings())
        return Monitor(BarMetrics(aggregator)).exposition()

    feed = Monitor(metrics_of(ran().feed))
    return {"gateway": _of_gateway(), "feed": feed.exposition(), "bars": asyncio.run(of_bars())}


def _of_gateway() -> bytes:
    metrics = Metrics()
    metrics.program.set_build(version="0", commit="f0cd5d8", fanout="c")
    metrics.feed = FeedStatus(state=FeedState.LIVE, since=0)
    metrics.opened()
    metrics.closed(1000, "left")
    metrics.count_request("/call", 200, 0.1)
    metrics.count_failure("feed")
    metrics.delivered(1, 1)
    return metrics.exposition()


def _expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


@each_row("program", ["gateway", "feed", "bars"])
def test_names_of_metrics_follow_the_conventions(program: str) -> None:
    done = _promtool("check", "metrics", given=_expositions()[program])
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_scrape_configuration_is_one_of_prometheus() -> None:
    done = _promtool("check", "config", "scrape.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_fault_raises_its_alert() -> None:
    assert _promtool("check", "rules", "rules.yaml").returncode == 0
    done = _promtool("test", "rules", "rules_test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_expressions_use_metrics_and_labels_of_the_programs() -> None:
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(_exposition().decode()):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    labels["up"] = {"job"}
    # A market's time is there once a board has come.
    labels["ime_live_feed_last_board_seconds"] = {"market"}
    for expression in _expressions():
        named = re.findall(r"\b(up|process_\w+|ime_live_\w+)\b", expression)
        assert named, expression
        assert [name for name in named if name not in labels] == [], expression
        known = LABELS_OF_PROMETHEUS.union(*(labels[name] for name in named))
        used = re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression)
        for by in re.findall(r"\bby \(([^)]*)\)", expression):
            used += re.split(r",\s*", by)
        assert [label for label in used if label not in known] == [], expression


def test_dashboard_shows_every_metric() -> None:
    shown = " ".join(_expressions())
    names = {family.name for family in text_string_to_metric_families(_exposition().decode())}
    # Counters of what a client asked for, shown by nothing that an operator would do.
    names -= {"ime_live_status_messages", "ime_live_contracts_subscribed"}
    assert [name for name in sorted(names) if name not in shown] == []


def test_document_explains_each_alert() -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"]]
    assert re.findall(r"^\| `(ImeLive\w+)` \|", OPERATIONS, re.MULTILINE) == alerts


def test_document_explains_each_metric() -> None:
    rows = re.findall(r"^\| (`(?:ime_live|process)_.*?) \|", OPERATIONS, re.MULTILINE)
    named = set(re.findall(r"`((?:ime_live|process)_\w+)[`{]", " ".join(rows)))
    families = text_string_to_metric_families(_exposition().decode())
    exported = {
        family.name + "_total" * (family.type == "counter")
        for family in families
        if not family.name.startswith("process_")
    }
    assert {name for name in named if not name.startswith("process_")} == exported
