"""The benchmarks run, and say what they have to; how fast anything is, is not asserted."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from benchmarks.contenders import FASTAPI_REST, FLOOR, IME_LIVE, NCHAN
from benchmarks.goals import Goal, goals
from benchmarks.measure import Result
from benchmarks.report import goal_table, table
from benchmarks.scenarios import SCENARIOS, Measured
from benchmarks.soak import growth, report
from tests.support.paths import ROOT

SINGLE = next(scenario for scenario in SCENARIOS if scenario.name == "single")
RESULT = Result(
    offered=100,
    delivered=100,
    cpu_per_delivery=10.0,
    cpu_per_handshake=300.0,
    memory_per_connection=3_000.0,
    bytes_per_message=736.0,
    p50=5_000,
    p99=20_000,
    longest=30_000,
)


def run(*arguments: str) -> str:
    """The output of a benchmark's command."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def found(floor: float, nchan_p99: int) -> dict[str, Goal]:
    """The goals of a run of one scenario."""
    results = {
        FLOOR.name: replace(RESULT, cpu_per_delivery=floor),
        IME_LIVE.name: RESULT,
        NCHAN.name: replace(RESULT, cpu_per_delivery=12.0, p99=nchan_p99),
    }
    return {
        f"{goal.what}, {goal.limit}": goal
        for goal in goals([Measured(SINGLE, results, {"other": "not installed: other"})], 12.0)
    }


def test_a_quick_run_measures_requests() -> None:
    said = run("benchmarks", "--quick", "rest")
    assert "| server | requests a second | CPU µs a request |" in said
    assert "| **ime-live** | " in said
    assert "CPU of a snapshot by plain HTTP | 500 µs" in said


def test_the_goals_of_requests() -> None:
    rest = next(scenario for scenario in SCENARIOS if scenario.name == "rest")
    theirs = replace(RESULT, cpu_per_request=900.0)
    for cpu, holds in ((400.0, [True, True]), (490.0, [True, False]), (600.0, [False, False])):
        ours = replace(RESULT, cpu_per_request=cpu, requests_per_second=1e6 / cpu)
        results = {IME_LIVE.name: ours, FASTAPI_REST.name: theirs}
        found = goals([Measured(rest, results, {})], 12.0)
        assert [goal.holds for goal in found if "plain HTTP" in goal.what] == holds
    text = table(Measured(rest, results, {}))
    assert "| **ime-live** | 1,667 | 600 | 5.0 | 20.0 | 30.0 | 736 |" in text


def test_a_quick_run_measures_the_gateway() -> None:
    said = run("benchmarks", "--quick", "steady")
    assert "| **ime-live** | " in said
    assert "| 100.0% |" in said
    assert "CPU of an update before fan-out" in said


@pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not installed: no floor to compare")
def test_fan_out_is_measured_beside_a_loop_in_c() -> None:
    lines = run("benchmarks.fanout", "10", "--sends", "100").splitlines()
    assert [line.split("|")[4].strip() for line in lines[2::4]] == ["send() in C"] * 3
    assert all(len(line.split("|")) == 9 for line in lines)


def test_the_scenarios_are_listed() -> None:
    lines = run("benchmarks", "--list").splitlines()
    assert [line.split()[0] for line in lines] == [scenario.name for scenario in SCENARIOS]


def test_a_goal_holds_or_is_missed() -> None:
    good, bad = found(8.0, 25_000), found(7.0, 15_000)
    cpu, latency = (
        f"CPU a delivery, single, 1.3 × {FLOOR.name}",
        f"p99 latency, single, 1.0 × {NCHAN.name}",
    )
    assert (good[cpu].holds, good[cpu].measured) == (True, "1.25 ×")
    assert (bad[cpu].holds, bad[cpu].measured) == (False, "1.43 ×")
    assert good[latency].holds
    assert not bad[latency].holds
    assert "MISSED" in goal_table(list(bad.values()))


def test_what_could_not_run_is_said() -> None:
    text = table(Measured(SINGLE, {IME_LIVE.name: RESULT}, {"other": "not installed: other"}))
    assert "| **ime-live** | 10.00 | – | 100.0% | 5.0 | 20.0 | 30.0 | 3.0 | 300 | 736 |" in text
    assert "other: not installed: other." in text


def test_the_soak_tells_growth_from_noise() -> None:
    flat = [100_000_000] * 600
    assert growth(flat) == 0
    assert growth([*flat[:540], *[112_000_000] * 60]) > 0.11
    assert "| 10 | 100.0 | 50% |" in report(flat, [0.5] * 600, 1_000)
