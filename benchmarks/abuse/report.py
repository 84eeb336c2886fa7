"""The section "Abuse" of `docs/reliability.md`, and the figures as JSON in `docs/abuse.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.abuse.abusers import RATE
from benchmarks.abuse.measurement import AT_MOST, OBSERVERS, PER_SECOND, Measured, Phase
from benchmarks.report import machine, versions

DOCUMENT: Final = Path(__file__).parent.parent.parent / "docs" / "reliability.md"
FIGURES: Final = "abuse.json"
"""File beside the document."""

_HEADING: Final = "\n## Abuse\n\n"

_INTRODUCTION: Final = f"""\
`make abuse` writes this section in some ten minutes. Two gateways with default settings take turns
on one core. {OBSERVERS:,} observers of each stream a contract that changes {PER_SECOND:g} times a
second. Beside the observers of one gateway, abusers do as the table says; beside those of the other
one, as many well-behaved clients stream the same contract. The p99 is that of the observers, from
publication to receipt; it may be at most {AT_MOST:g} × as long beside abusers. A ratio is that of
one round; figures are medians of the rounds, and the lowest and highest of them.

All clients and Valkey share the other core, on which abusers have a lower priority. They send and
receive at most {RATE // 1_000_000} MB a second, as a link of 1 Gbit/s does. Abusers that are
disconnected or refused connect again at once. There is no limit per address, since they connect
directly and `--trusted-proxies` is not set.

Waiting is the share of time for which the gateway was ready to run and another program of the
machine had its core, beside well-behaved clients and beside abusers. It makes the p99 longer, and
that of a gateway that is busy by more: read ratios with little waiting."""

_MEMORY: Final = """\
Memory is the growth of the gateway's process since its observers were connected. Gateways are
started again only before each group of kinds (those from `slowloris`, `pings`, `inflating` and
`badtokens` on), and a process keeps some of what it has freed, so it includes the remains of those
before. The bound is 24 MB for the allocator, and the most that connections of a kind so far may
hold: 16 kB each, or twice `--max-request` where abusers send large requests, or 1 MB where they
have the states of 500 contracts sent."""

_COLUMNS: Final = (
    "abuse",
    "each connection",
    "connections",
    "p99 beside well-behaved clients, ms",
    "p99 beside abusers, ms",
    "ratio",
    "",
    "memory, MB",
    "bound, MB",
    "cores",
    "waiting",
    "messages lost",
    "observers disconnected",
    "answers",
)


def line_of(measured: Measured) -> str:
    """A row of the table, in Markdown."""
    one = measured
    cells = (
        one.kind,
        one.title,
        f"{one.connections:,}",
        f"{one.middle(one.well, _p99) / 1e3:.1f}",
        f"{one.middle(one.abused, _p99) / 1e3:.1f}",
        one.ratio.measured,
        one.ratio.verdict,
        f"{one.growth / 1e6:.0f}",
        f"{one.bound / 1e6:.0f}",
        f"{one.middle(one.abused, _cores):.2f}",
        " / ".join(f"{one.middle(each, _waited):.0%}" for each in (one.well, one.abused)),
        f"{one.lost:,}",
        f"{one.disconnected:,}",
        _answers(one.codes),
    )
    return "| " + " | ".join(cells) + " |"


def table(measured: Iterable[Measured]) -> str:
    """All kinds, in Markdown."""
    head = ["| " + " | ".join(_COLUMNS) + " |", "|---" * len(_COLUMNS) + "|"]
    return "\n".join([*head, *map(line_of, measured)])


def section_of(document: Path) -> str:
    """The section in a document; empty if it has none."""
    if not document.exists():
        return ""
    _, heading, section = document.read_text(encoding="utf-8").partition(_HEADING)
    return heading + section


def write_report(measured: Sequence[Measured], document: Path = DOCUMENT) -> None:
    """Write the section, and the figures beside the document."""
    measured_on = f"{datetime.now(UTC):%Y-%m-%d}, {machine()}. {versions()}."
    section = "\n\n".join((_INTRODUCTION, _MEMORY, measured_on, table(measured)))
    before = document.read_text(encoding="utf-8").partition(_HEADING)[0]
    document.write_text(before + _HEADING + section + "\n", encoding="utf-8")
    figures = json.dumps(msgspec.to_builtins(measured), indent=1)
    document.with_name(FIGURES).write_text(figures + "\n", encoding="utf-8")
    print(f"\nwritten to docs/{document.name}")


def _answers(codes: Mapping[str, int]) -> str:
    return ", ".join(f"{code} × {count:,}" for code, count in codes.items()) or "–"


def _p99(phase: Phase) -> float:
    return phase.p99


def _cores(phase: Phase) -> float:
    return phase.cores


def _waited(phase: Phase) -> float:
    return phase.waited
