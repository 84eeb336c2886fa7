"""Sizing: compute the resources for a number of clients, from the last measurements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from docgen.settings_reference import PROGRAM

CLIENTS: Final = (10_000, 100_000, 1_000_000)
UPDATES: Final = (200, 500, 1_000, 2_000)
"""Updates a second of all contracts together."""

BUSY: Final = 0.6
"""Share of a core to plan with; the rest is for bursts and reconnections."""

CONTRACTS: Final = 500
_USUAL: Final = UPDATES[0]
_CLIENTS: Final = (
    *("clients", "each has", "messages/s", "cores", "memory GB", "Redis connections"),
    *("Redis cores", "Gbit/s", "compressed"),
)

Figures = Mapping[str, Any]


def sizing(performance: Figures, store: Figures) -> str:
    """Return the tables of docs/operations.md, in Markdown.

    Args:
        performance: figures of ``make bench``.
        store: figures of ``python -m benchmarks.store``.
    """
    some = performance["many10k20"][PROGRAM]
    market = performance["market"][f"{PROGRAM}, by market"]
    packed = performance["single"][f"{PROGRAM}, deflate"]["bytes_per_message"]
    loads = [("20 contracts", 20, some), ("whole market", CONTRACTS, market)]
    rows = [
        _row(clients, what, of_each, measured, packed, store)
        for what, of_each, measured in loads
        for clients in CLIENTS
    ]
    fixed, extra = cost_of_update(store)
    limits = [_limit(updates, fixed, extra, some["bytes_per_message"]) for updates in UPDATES]
    plain, tls = (performance["tls"][f"{PROGRAM}{how}"] for how in ("", " behind nginx with TLS"))
    messages, memory, handshake = (
        tls[name] - plain[name]
        for name in ("cpu_per_delivery", "memory_per_connection", "cpu_per_handshake")
    )
    return f"""\
{_table(_CLIENTS, rows)}

A core that is {BUSY:.0%} busy sends {_per_core(some)} messages per second to clients of 20
contracts each, or {_per_core(market)} to clients of a whole market. One that does nothing
else accepts {1e6 / some["cpu_per_handshake"]:,.0f} clients per second. TLS by nginx in front adds
{messages:.0f} µs of CPU per message that comes alone, {handshake / 1000:.1f} ms per handshake
and {memory / 1000:.0f} kB per connection.

An update takes {fixed:.0f} µs of Redis's core, and {extra:.1f} µs more per gateway process that
listens to its contract:

{_table(("updates/s", "gateway processes", "Gbit/s out of Redis"), limits)}"""


def _per_core(measured: Figures) -> str:
    return f"{1000 * round(BUSY * 1000 / measured['cpu_per_delivery']):,}"


def cost_of_update(store: Figures) -> tuple[float, float]:
    """Return the CPU of an update in the store [µs]: its fixed part, and that of each gateway."""
    points = [(int(gateways), cpu) for gateways, cpu in store["one_server"].items()]
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum(
        (x - mean_x) ** 2 for x, _ in points
    )
    return mean_y - slope * mean_x, slope


def _row(
    clients: int, what: str, of_each: int, measured: Figures, packed: float, store: Figures
) -> Sequence[str]:
    messages = clients * _USUAL * of_each / CONTRACTS
    cores = math.ceil(messages * measured["cpu_per_delivery"] / 1e6 / BUSY)
    fixed, extra = cost_of_update(store)
    bits = messages * 8 / 1e9
    return (
        f"{clients:,}",
        what,
        f"{messages:,.0f}",
        f"{cores:,}",
        f"{clients * measured['memory_per_connection'] / 1e9:,.2f}",
        f"{cores:,}",
        f"{_USUAL * (fixed + extra * cores) / 1e6:.2f}",
        f"{bits * measured['bytes_per_message']:,.1f}",
        f"{bits * packed:,.1f}",
    )


def _limit(updates: int, fixed: float, extra: float, size: float) -> Sequence[str]:
    most = max(0, math.floor((BUSY * 1e6 / updates - fixed) / extra))
    return f"{updates:,}", f"{most:,}", f"{most * updates * size * 8 / 1e9:.1f}"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
