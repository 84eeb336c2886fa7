"""The result of a rolling restart, and its figures in a document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

START: Final = "<!-- Figures: written by `python -m benchmarks.rolling_restart`; do not edit. -->"
END: Final = "<!-- End of figures. -->"


class Outcome(Struct, frozen=True):
    """The result of a rolling restart.

    Attributes:
        clients: their number.
        states: states that were published.
        received: messages that the clients received.
        missed: states that a client did not receive, all clients together.
        disordered: states that a client received twice or in the wrong order.
        away: clients that were without a connection at the end.
        reconnections: all of them.
        most_lost: connections that were lost in any one second.
        most_made: connections that were made again in any one second.
        longest_gap: seconds without a connection.
        drains: seconds that each drain took.
    """

    clients: int
    states: int
    received: int
    missed: int
    disordered: int
    away: int
    reconnections: int
    most_lost: int
    most_made: int
    longest_gap: float
    drains: Sequence[float]


def table(outcome: Outcome) -> str:
    """The figures in Markdown."""
    one = outcome
    tenth = one.clients / 10
    rows = (
        ("clients", f"{one.clients:,}"),
        ("states published", f"{one.states:,}"),
        ("messages received", f"{one.received:,}"),
        ("states missed by a client", f"{one.missed:,}"),
        ("states received twice or out of order", f"{one.disordered:,}"),
        ("reconnections", f"{one.reconnections:,}"),
        ("most reconnections in any second", f"{one.most_made:,} (a tenth is {tenth:,.0f})"),
        ("longest time without a connection", f"{one.longest_gap:.1f} s"),
        ("drains", " and ".join(f"{seconds:.0f} s" for seconds in one.drains)),
    )
    lines = ["| what | measured |", "|---|---|", *(f"| {name} | {cell} |" for name, cell in rows)]
    return "\n".join(lines)


def with_figures(document: str, outcome: Outcome, measured_on: str) -> str:
    """Return a document with the figures between its two comments."""
    before, start, rest = document.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the document must have the comments {START} and {END}")
    return f"{before}{start}\n\n{measured_on}\n\n{table(outcome)}\n\n{end}{after}"
