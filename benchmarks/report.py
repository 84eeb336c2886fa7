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
from benchmarks.first_byte import BARE_SUBSCRIBER
from benchmarks.gateways import has_extension
from benchmarks.goals import Goal, goals
from benchmarks.loads import Bars, FirstByte, Handshakes, JoinStorm, Requesting, Result
from benchmarks.processes import Contender
from benchmarks.scenarios import Measured

_PAGE: Final = "\n## page: the market page in Chromium, 500 contracts, 34 of them in view\n\n"
_PAGE_TERMS: Final = (
    "`python -m benchmarks.page` writes this section. Chromium runs without a screen and without a "
    "GPU, beside the gateway, Valkey and the publisher. A long task is one of more than 50 ms. The "
    "main thread's time includes layout and painting; heap is after garbage collection."
)
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
Written by `make bench`, which anyone can repeat (half an hour; a few minutes with
`make bench ARGS=--quick`, for ours and the floor). Each server runs alone on one core, the load and
Redis on another. Compare ratios within this run only: the machine is shared, and absolute
figures differ from run to run."""

_TERMS: Final = """\
CPU is user and kernel time of the server's processes. The floor is a loop of `send()` in C that
delivers the same messages, published at the same pace, and does nothing else. A delivery is one
message to one client; latency is from its publication to its receipt, or from a request to its
whole answer; bursts are published at once. ime-live runs as shipped: JWT authentication, metrics,
logs. All its connections have the same token where nothing else is said. A server that falls
behind sends more at once, and so pays less per delivery: read its CPU together with its latency."""

_GOALS: Final = """\
Servers that a goal compares run in turn, three rounds of each; figures are medians, and the lowest
and highest round. A ratio is that of one round. A goal holds if it does in every round, and holds
within the spread if the median does. It is open if only some round holds. It is MISSED if no round
holds."""

_FULL: Final = 0.9
"""A core of the load that is as busy as this cannot take more."""

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


_LATENCIES: Final = tuple(one for one in _COLUMNS if one[0] in ("p50 ms", "p99 ms", "max ms"))

_OF_REQUESTS: Final[Sequence[tuple[str, Cell]]] = (
    ("requests a second", lambda r, _: _number(r.requests_per_second)),
    ("CPU µs a request", lambda r, _: _number(r.cpu_per_request)),
    *_LATENCIES,
    ("bytes an answer", lambda r, _: _number(r.bytes_per_message)),
)

_OF_JOIN_STORMS: Final[Sequence[tuple[str, Cell]]] = (
    (
        "p99 ms before",
        lambda r, _: _number(None if r.p99_before is None else r.p99_before / 1000, 1),
    ),
    *_LATENCIES,
    ("handshakes a second", lambda r, _: _number(r.handshakes_per_second)),
    ("delivered of offered", lambda r, _: f"{r.share:.1%}"),
)


_OF_HANDSHAKES: Final[Sequence[tuple[str, Cell]]] = (
    ("CPU µs a handshake, one contract", lambda r, _: _number(r.cpu_of_one_contract)),
    ("CPU µs a handshake, a market", lambda r, _: _number(r.cpu_per_handshake)),
)


def _beyond_bare(result: Result, results: Mapping[str, Result]) -> str:
    bare = results.get(BARE_SUBSCRIBER.name)
    if bare is None or bare.p50 is None or result.p50 is None:
        return "–"
    return _number(result.p50 - bare.p50)


_OF_FIRST_BYTES: Final[Sequence[tuple[str, Cell]]] = (
    ("p50 µs", lambda r, _: _number(r.p50)),
    (f"p50 µs beyond {BARE_SUBSCRIBER.name}", _beyond_bare),
    ("p99 µs", lambda r, _: _number(r.p99)),
    ("delivered of offered", lambda r, _: f"{r.share:.1%}"),
)


_OF_BARS: Final[Sequence[tuple[str, Cell]]] = (
    ("cores", lambda r, _: _number(r.cores, 3)),
    ("trades in the bar of their minute", lambda r, _: f"{r.share:.1%}"),
    (
        "MB a day of 315 minutes",
        lambda r, _: _number(None if r.memory_of_day is None else r.memory_of_day / 1e6, 1),
    ),
)


def table(measured: Measured) -> str:
    """A scenario's table, in Markdown."""
    match measured.scenario.load:
        case Requesting():
            columns = _OF_REQUESTS
        case JoinStorm():
            columns = _OF_JOIN_STORMS
        case Handshakes():
            columns = _OF_HANDSHAKES
        case Bars():
            columns = _OF_BARS
        case FirstByte():
            columns = _OF_FIRST_BYTES
        case _:
            columns = _COLUMNS
    results = measured.results
    lines = [
        "| server | " + " | ".join(title for title, _ in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, result in results.items():
        shown = f"**{name}**" if name.startswith("ime-live") else name
        cells = [cell(result, results) for _, cell in columns]
        lines.append(f"| {shown} | " + " | ".join(cells) + " |")
    full = [name for name, one in results.items() if (one.load_share or 0) > _FULL]
    if full:
        lines.append(
            f"\nThe load's own core was full, so its latency counts too: {', '.join(full)}."
        )
    lines += [f"\n{name}: {reason}." for name, reason in measured.missing.items()]
    return "\n".join(lines)


def goal_table(found: Sequence[Goal]) -> str:
    """The goals, and whether each is met, in Markdown."""
    lines = ["| what | at most | measured | |", "|---|---|---|---|"]
    lines += [
        f"| {goal.what} | {goal.at_most} | {goal.measured} | {goal.verdict} |" for goal in found
    ]
    return "\n".join(lines)


def contender_table(measured: Sequence[Measured]) -> str:
    """The missing features of the other servers, in Markdown."""
    lines = ["| server | what it lacks beside ime-live, and how it is set up |", "|---|---|"]
    found: dict[tuple[str, str], Contender] = {}
    for one in measured:
        for contender in (*one.scenario.contenders, *one.scenario.once):
            if contender.lacks and contender.name in one.rounds:
                found[contender.name, contender.lacks] = contender
    for (name, lacks), contender in found.items():
        version = contender.version()
        lines.append(f"| {name}{', ' if version else ''}{version} | {lacks} |")
    return "\n".join(lines)


def write_report(measured: Sequence[Measured], update: Sequence[float]) -> None:
    """Write `docs/performance.md`, and its figures as JSON beside it."""
    document = [
        "# Performance",
        _INTRODUCTION,
        f"{datetime.now(UTC):%Y-%m-%d}, {machine()}. {versions()}.",
        _TERMS,
        "With the extension in C."
        if has_extension()
        else "Without the extension in C: ime-live is pure Python here.",
        "## Goals",
        _GOALS,
        goal_table(goals(measured, update)),
    ]
    document += ["## Servers", contender_table(measured)]
    for one in measured:
        document += [f"## {one.scenario.name}: {one.scenario.title}", table(one)]
    text = "\n\n".join(document) + "\n"
    _DOCUMENT.write_text(text + _page_section(), encoding="utf-8")
    figures = {
        one.scenario.name: {name: result.as_dict() for name, result in one.results.items()}
        for one in measured
    }
    _DOCUMENT.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    print(f"\nwritten to docs/{_DOCUMENT.name}")


def write_page_section(measured_on: str, table: str) -> None:
    """Write the section about the market page, which `benchmarks.page` measures separately.

    Args:
        measured_on: the day and the machine.
        table: its figures.
    """
    text = _DOCUMENT.read_text(encoding="utf-8").partition(_PAGE)[0]
    section = "\n\n".join((_PAGE + _PAGE_TERMS, measured_on, table)) + "\n"
    _DOCUMENT.write_text(text + section, encoding="utf-8")


def _page_section() -> str:
    if not _DOCUMENT.exists():
        return ""
    _, heading, section = _DOCUMENT.read_text(encoding="utf-8").partition(_PAGE)
    return heading + section


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
