"""The report on several runs: figures as JSON, and `docs/reliability.md`.

Runs are added up until the newest of them have `ENOUGH` faults; older ones are left out then.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Final, Self

import msgspec
from msgspec import Struct

from benchmarks.report import machine, versions
from chaos.invariants import Invariant
from chaos.outcome import LIMIT, Outcome
from chaos.stores import STORES

ENOUGH: Final = 1_000
"""Faults up to which runs are added."""

LONG: Final = 100
"""Faults of the shortest run that is added."""

DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "reliability.md"

_NEXT: Final = "\n## Fuzzing\n"
"""Heading of the section after those of this report."""

_LONGEST_TEXT: Final = 200  # characters of a violation

_INTRODUCTION: Final = """\
Written by `make chaos`, which anyone can repeat. It runs two gateways, a publisher, two feeds on a
hub with the exchange's protocol, and 100 clients of 50 contracts: without options, with snapshots,
with status, resuming, throttled, with sections, slow, over server-sent events and with the client
library. The store is a single Valkey, one under Sentinel (a master, two replicas, three Sentinels)
or a cluster (three primaries with a replica each). All processes, servers and sockets are real.

Faults are injected one after the other, chosen by a seed, while some 30 states a second are sent.
After each fault the market stops, and the time until each client holds the newest state of each of
its contracts is measured. It begins after the fault, when the store accepts writes again."""

_REPEAT: Final = """\
`make chaos ARGS="--seed SEED --topology STORE --first NUMBER --faults 1"` injects a fault again,
with `--faults 0` only the start before it. The timing of the machine is not repeated."""


class Broken(Struct, frozen=True):
    """An invariant that was broken after a fault.

    Attributes:
        store: the kind of store.
        number: of the fault in its run.
        fault: its name.
        invariant: which one.
        times: how often.
        text: of the first violation.
    """

    store: str
    number: int
    fault: str
    invariant: str
    times: int
    text: str


class Run(Struct, frozen=True):
    """The result of a run.

    Attributes:
        date: ISO 8601.
        seed: of the run.
        seconds: to convergence, by store and fault; None where there was none.
        broken: invariants.
        refused: clients that were refused for now, by store and fault; None in runs that did not
            count them.
        lag: the longest time in seconds for which the run itself was blocked; None in runs that
            did not measure it.
    """

    date: str
    seed: int
    seconds: Mapping[str, Mapping[str, Sequence[float | None]]]
    broken: Sequence[Broken]
    refused: Mapping[str, Mapping[str, int]] | None = None
    lag: float | None = None

    @classmethod
    def of(cls, seed: int, outcomes: Iterable[Outcome]) -> Self:
        """The result of a run with these outcomes."""
        seconds: dict[str, dict[str, list[float | None]]] = defaultdict(lambda: defaultdict(list))
        refused: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        lag = 0.0
        broken = []
        for outcome in outcomes:
            lag = max(lag, outcome.lag)
            if outcome.injected:
                rounded = None if outcome.seconds is None else round(outcome.seconds, 2)
                seconds[outcome.store][outcome.fault].append(rounded)
                refused[outcome.store][outcome.fault] += outcome.refused
            found = sorted(outcome.violations, key=lambda each: each.invariant)
            for invariant, several in groupby(found, key=lambda each: each.invariant):
                first, *others = several
                text = f"{first.client} {first.contract}: {first.text}"[:_LONGEST_TEXT]
                fault = (outcome.store, outcome.number, outcome.fault)
                broken.append(Broken(*fault, invariant, len(others) + 1, text))
        return cls(f"{datetime.now(UTC):%Y-%m-%d}", seed, seconds, broken, refused, round(lag, 2))

    @property
    def faults(self) -> int:
        """The number of faults that were injected."""
        return sum(len(each) for faults in self.seconds.values() for each in faults.values())


def add_run(run: Run, document: Path = DOCUMENT, *, reset: bool = False) -> None:
    """Add a run to those before, and write the report.

    Args:
        run: the newest.
        document: the report; the figures are beside it as JSON.
        reset: leave out the runs before.
    """
    figures = document.with_suffix(".json")
    before: list[Run] = []
    if figures.exists() and not reset:
        before = msgspec.json.decode(figures.read_bytes(), type=list[Run])
    runs = newest([*before, run])
    figures.write_text(json.dumps(msgspec.to_builtins(runs), indent=1) + "\n", encoding="utf-8")
    document.write_text(report(runs) + later_sections(document), encoding="utf-8")


def later_sections(document: Path) -> str:
    """The sections that follow those of this report, which others have written; may be empty."""
    if not document.exists():
        return ""
    _, heading, rest = document.read_text(encoding="utf-8").partition(_NEXT)
    return heading + rest


def newest(runs: Sequence[Run]) -> list[Run]:
    """The newest runs that together have `ENOUGH` faults; all runs if they have fewer."""
    kept: list[Run] = []
    for run in reversed(runs):
        if sum(each.faults for each in kept) >= ENOUGH:
            break
        kept.insert(0, run)
    return kept


def report(runs: Sequence[Run]) -> str:
    """The report in Markdown."""
    broken = [(run.seed, each) for run in runs for each in run.broken]
    faults = sum(run.faults for run in runs)
    seeds = ", ".join(str(run.seed) for run in runs)
    document = [
        "# Reliability",
        _INTRODUCTION,
        f"{runs[-1].date}, {machine()}. {versions()}.",
        f"{faults:,} faults in {len(runs)} runs (seeds {seeds}), {len(broken)} violations.",
        "## Invariants",
        "\n".join(f"- {each[0].upper()}{each[1:]}." for each in Invariant),
        _limits(runs),
        "## Faults",
        "\n".join(_table(runs)),
        "## Violations",
    ]
    if broken:
        document += [_REPEAT, "\n".join(_violations(broken))]
    else:
        document.append("None.")
    return "\n\n".join(document) + "\n"


def _limits(runs: Sequence[Run]) -> str:
    text = (
        f"The newest states must arrive within {LIMIT:g} s after the end of a fault. A client that "
        "connects during a\nfault may be refused temporarily (1013, or 503 over HTTP), and tries "
        "again."
    )
    if lags := [run.lag for run in runs if run.lag is not None]:
        text += f"\nThe run itself was blocked for up to {max(lags):.1f} s, which is not counted."
    return text


def _table(runs: Sequence[Run]) -> Iterator[str]:
    yield "| fault | store | times | median, s | longest, s | refused |"
    yield "|---|---|---|---|---|---|"
    all_seconds: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    all_refused: dict[tuple[str, str], int] = defaultdict(int)
    for run in runs:
        for store, faults in run.seconds.items():
            for fault, seconds in faults.items():
                all_seconds[fault, store] += seconds
        for store, counts in (run.refused or {}).items():
            for fault, count in counts.items():
                all_refused[fault, store] += count
    stores = list(STORES)
    for fault, store in sorted(all_seconds, key=lambda key: (key[0].lower(), stores.index(key[1]))):
        seconds = all_seconds[fault, store]
        converged = [each for each in seconds if each is not None]
        middle = f"{median(converged):.1f}" if converged else "–"
        longest = (
            f"not within {LIMIT:g}" if len(converged) < len(seconds) else f"{max(converged):.1f}"
        )
        refused = all_refused.get((fault, store), "–")  # no run has counted them
        yield f"| {fault} | {store} | {len(seconds)} | {middle} | {longest} | {refused} |"


def _violations(broken: Iterable[tuple[int, Broken]]) -> Iterator[str]:
    yield "| seed | store | number | fault | invariant | times | first violation |"
    yield "|---|---|---|---|---|---|---|"
    for seed, each in broken:
        cells = (seed, each.store, each.number, each.fault, each.invariant, each.times, each.text)
        yield "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |"
