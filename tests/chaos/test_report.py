"""The report adds up runs, and shows times and violations."""

from __future__ import annotations

from pathlib import Path

import msgspec

from chaos.invariants import Invariant, Violation
from chaos.outcome import Outcome
from chaos.report import ENOUGH, Run, add_run, newest, report

FROZEN = "store frozen"


def outcome(seconds: float | None, *violations: Violation, store: str = "single") -> Outcome:
    return Outcome(store=store, number=7, fault=FROZEN, seconds=seconds, violations=violations)


def test_report_shows_times_by_fault_and_store() -> None:
    single = [outcome(seconds) for seconds in (1.0, 2.0, 6.04)]
    text = report([Run.of(11, [*single, outcome(3.0, store="cluster")]), Run.of(12, [outcome(4)])])
    assert "5 faults in 2 runs (seeds 11, 12), 0 violations." in text
    assert "| store frozen | single | 4 | 3.0 | 6.0 | 0 |" in text
    assert "| store frozen | cluster | 1 | 3.0 | 3.0 | 0 |" in text
    assert "## Violations\n\nNone." in text
    assert all(f"{invariant[1:]}." in text for invariant in Invariant)


def test_report_shows_each_broken_invariant_with_its_seed() -> None:
    newest_, again = (
        Violation(invariant, "slow 3", "1004", "it holds 1")
        for invariant in (Invariant.NEWEST, Invariant.CHANGED)
    )
    run = Run.of(11, [outcome(None, newest_, again, newest_), outcome(1.0)])
    text = report([run])
    row = "| 11 | single | 7 | store frozen | {} | {} | slow 3 1004: it holds 1 |"
    assert row.format(Invariant.NEWEST, 2) in text
    assert row.format(Invariant.CHANGED, 1) in text
    assert "| store frozen | single | 2 | 1.0 | not within 10 | 0 |" in text
    assert "2 violations." in text


def test_report_shows_refusals_and_the_lag_of_the_run_itself() -> None:
    first = Outcome(store="single", number=1, fault=FROZEN, seconds=1.0, refused=2, lag=0.7)
    second = Outcome(store="single", number=2, fault=FROZEN, seconds=1.0, refused=3, lag=0.2)
    runs = [Run.of(11, [first, second]), Run.of(12, [second])]
    text = report([Run("2026-11-26", 10, {"single": {FROZEN: [1.0]}}, []), *runs])
    assert "| store frozen | single | 4 | 1.0 | 1.0 | 8 |" in text
    assert "blocked for up to 0.7 s" in text


def test_runs_of_before_refusals_were_counted_can_be_read() -> None:
    old = b'[{"date": "2026-11-26", "seed": 1, "seconds": {"single": {"a": [1]}}, "broken": []}]'
    [run] = msgspec.json.decode(old, type=list[Run])
    text = report([run])
    assert "blocked" not in text
    assert "| a | single | 1 | 1.0 | 1.0 | – |" in text


def test_fault_that_was_not_injected_does_not_count() -> None:
    failed = Outcome(store="sentinel", number=1, fault="Sentinel failover", injected=False)
    assert Run.of(1, [failed, outcome(1.0)]).faults == 1


def test_oldest_runs_are_left_out_when_the_newest_suffice() -> None:
    runs = [Run("2026-11-26", n, {"single": {FROZEN: [1.0] * (ENOUGH // 2)}}, []) for n in range(4)]
    assert [run.seed for run in newest(runs)] == [2, 3]
    small = Run("2026-11-26", 9, {"single": {FROZEN: [1.0]}}, [])
    assert [run.seed for run in newest([*runs, small])] == [2, 3, 9]
    assert newest([small]) == [small]


def test_runs_are_added_to_the_figures_beside_the_report(tmp_path: Path) -> None:
    document = tmp_path / "reliability.md"
    violation = Violation(Invariant.NEWEST, "plain 1", "1", "nothing")
    add_run(Run.of(1, [outcome(1.0)]), document)
    add_run(Run.of(2, [outcome(None, violation)]), document)
    assert "(seeds 1, 2), 1 violations" in document.read_text()
    add_run(Run.of(3, [outcome(1.0)]), document, reset=True)
    assert "(seeds 3), 0 violations" in document.read_text()


def test_sections_of_others_stay_behind_the_report(tmp_path: Path) -> None:
    document = tmp_path / "reliability.md"
    document.write_text("# Old\n\nold\n\n## Fuzzing\n\nby hand\n\n## More\n\nmore\n")
    run = Run.of(11, [outcome(1.0)])
    for _ in range(2):
        add_run(run, document, reset=True)
    assert document.read_text() == report([run]) + ("\n## Fuzzing\n\nby hand\n\n## More\n\nmore\n")
