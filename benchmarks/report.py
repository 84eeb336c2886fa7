"""The report: tables on the terminal, `docs/performance.md`, and the same as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from benchmarks.contenders import FLOOR
from benchmarks.goals import Goal, goals
from benchmarks.measure import Asking, Result
from benchmarks.scenarios import Measured

_DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "performance.md"
_PACKAGES: Final = (
    "uvicorn",
    "uvloop",
    "websockets",
    "msgspec",
    "hiredis",
    "picows",
    "starlette",
    "fastapi",
)

_INTRODUCTION: Final = """\
Written by `make bench`, which anyone can repeat (ten minutes; `make bench ARGS=--quick` takes one,
for ours and the floor). Each server runs alone on one core, the load on another. Ratios within
this run are what counts: the machine is shared, and absolute figures differ from run to run."""

_TERMS: Final = """\
CPU is user and kernel time of the server's processes. The floor is a loop of `send()` in C that
delivers the same messages and does nothing else. A delivery is one message to one client; latency
is from its publication to its receipt, or from a request to its whole answer; bursts are published
at once. ime-live runs as shipped:
JWT authentication, metrics, logs. Where neighbours matter most, figures are medians of three
rounds of all servers in turn."""

Cell = Callable[[Result, Mapping[str, Result]], str]


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _times_floor(result: Result, results: Mapping[str, Result]) -> str:
    floor = results.get(FLOOR.name)
    if floor is None or not floor.cpu_per_delivery or not result.cpu_per_delivery:
        return "–"
    return f"{result.cpu_per_delivery / floor.cpu_per_delivery:.2f}"


_COLUMNS: Final[Sequence[tuple[str, Cell]]] = (
    ("CPU µs a delivery", lambda r, _: _number(r.cpu_per_delivery, 2)),
    ("× floor", _times_floor),
    ("delivered of offered", lambda r, _: f"{r.share:.1%}"),
    ("p50 ms", lambda r, _: _number(None if r.p50 is None else r.p50 / 1000, 1)),
    ("p99 ms", lambda r, _: _number(None if r.p99 is None else r.p99 / 1000, 1)),
    ("max ms", lambda r, _: _number(None if r.longest is None else r.longest / 1000, 1)),
    (
        "kB a connection",
        lambda r, _: _number(
            None if r.memory_per_connection is None else r.memory_per_connection / 1000, 1
        ),
    ),
    ("CPU µs a handshake", lambda r, _: _number(r.cpu_per_handshake)),
    ("bytes a message", lambda r, _: _number(r.bytes_per_message)),
)


_OF_REQUESTS: Final[Sequence[tuple[str, Cell]]] = (
    ("requests a second", lambda r, _: _number(r.requests_per_second)),
    ("CPU µs a request", lambda r, _: _number(r.cpu_per_request)),
    *(column for column in _COLUMNS if column[0] in ("p50 ms", "p99 ms", "max ms")),
    ("bytes an answer", lambda r, _: _number(r.bytes_per_message)),
)


def table(measured: Measured) -> str:
    """A scenario's table, in Markdown."""
    columns = _OF_REQUESTS if isinstance(measured.scenario.load, Asking) else _COLUMNS
    lines = [
        "| server | " + " | ".join(title for title, _ in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, result in measured.results.items():
        shown = f"**{name}**" if name.startswith("ime-live") else name
        cells = [cell(result, measured.results) for _, cell in columns]
        lines.append(f"| {shown} | " + " | ".join(cells) + " |")
    lines += [f"\n{name}: {reason}." for name, reason in measured.missing.items()]
    return "\n".join(lines)


def goal_table(found: Sequence[Goal]) -> str:
    """The goals, and whether each is met, in Markdown."""
    lines = ["| what | at most | measured | |", "|---|---|---|---|"]
    lines += [
        f"| {goal.what} | {goal.limit} | {goal.measured} | {'holds' if goal.holds else 'MISSED'} |"
        for goal in found
    ]
    return "\n".join(lines)


def write_report(measured: Sequence[Measured], update: float) -> None:
    """Write `docs/performance.md`, and its figures as JSON beside it."""
    document = [
        "# Performance",
        _INTRODUCTION,
        f"{datetime.now(UTC):%Y-%m-%d}, {machine()}. {versions()}.",
        _TERMS,
        "## Goals",
        goal_table(goals(measured, update)),
    ]
    for one in measured:
        document += [f"## {one.scenario.name}: {one.scenario.title}", table(one)]
    _DOCUMENT.write_text("\n\n".join(document) + "\n", encoding="utf-8")
    figures = {
        one.scenario.name: {name: result.as_dict() for name, result in one.results.items()}
        for one in measured
    }
    _DOCUMENT.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    print(f"\nwritten to docs/{_DOCUMENT.name}")


def machine() -> str:
    """The processor, cores and kernel."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    processor = names[0] if names else platform.machine()
    return f"{processor}, {os.cpu_count()} cores, Linux {platform.release()}"


def versions() -> str:
    """Python and the packages that matter."""
    found = [f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
