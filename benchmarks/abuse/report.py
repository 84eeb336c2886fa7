"""The section "Abuse" of `docs/reliability.md`, and the same figures as JSON."""

from __future__ import annotations

from benchmarks.abuse.measurement import Measured


def line_of(measured: Measured) -> str:
    """A row of the table, in Markdown."""
    one, codes = measured, ", ".join(f"{code} × {n:,}" for code, n in measured.codes.items())
    p99 = tuple(one.middle(phases, lambda each: each.p99) / 1e3 for phases in (one.well, one.abused))
    cores = one.middle(one.abused, lambda each: each.cores)
    cells = (
        one.kind,
        f"{one.connections:,}",
        f"{p99[0]:.1f}",
        f"{p99[1]:.1f}",
        one.ratio.measured,
        one.ratio.verdict,
        f"{one.growth / 1e6:+.0f}",
        f"{one.bound / 1e6:.0f}",
        f"{cores:.2f}",
        f"{one.lost:,}",
        f"{one.disconnected:,}",
        codes or "–",
    )
    return "| " + " | ".join(cells) + " |"


def write_report(measured: list[Measured]) -> None:
    """Not yet."""
