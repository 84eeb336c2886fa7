"""The goals: which ratios have to hold, and what a run says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.contenders import (
    BROADCAST,
    FASTAPI_REST,
    FLOOR,
    IME_LIVE,
    IME_LIVE_DEFLATE,
    NCHAN,
    PICOWS,
)
from benchmarks.measure import SLOW_BUFFER, Result
from benchmarks.scenarios import SLOW_RATE, Measured
from ime_live.settings import GatewaySettings


@dataclass(frozen=True)
class Goal:
    """One figure that has to hold."""

    what: str
    limit: str
    measured: str
    holds: bool


def goals(measured: Sequence[Measured], update: float) -> list[Goal]:
    """The goals that can be told from these scenarios, and from the cost of an update in µs."""
    by_name = {one.scenario.name: one.results for one in measured}
    found: list[Goal] = []
    for name, limit in (("single", 1.3), ("burst8", 1.5), ("burst20", 1.5), ("random50", 2.0)):
        results = by_name.get(name, {})
        found += _ratio(f"CPU a delivery, {name}", results, IME_LIVE.name, FLOOR.name, limit)
    single = by_name.get("single", {})
    for other in (NCHAN, PICOWS):
        found += _ratio("CPU a delivery, single", single, IME_LIVE.name, other.name, 1.0)
    for name in ("burst8", "burst20"):
        for other in (NCHAN, BROADCAST):
            results = by_name.get(name, {})
            found += _ratio(f"CPU a delivery, {name}", results, IME_LIVE.name, other.name, 0.25)
    found += _ratio("CPU a delivery, deflate", single, IME_LIVE_DEFLATE.name, IME_LIVE.name, 1.2)
    found += _latency("p99 latency, single", single, IME_LIVE.name, NCHAN.name, 1.0)
    found += _absolute(by_name)
    found += _of_requests(by_name.get("rest", {}))
    found.append(Goal("CPU of an update before fan-out", "25 µs", f"{update:.1f} µs", update <= 25))
    return found


def _ratio(
    what: str, results: Mapping[str, Result], name: str, other: str, limit: float
) -> Iterator[Goal]:
    if name in results and other in results:
        ours, theirs = results[name].cpu_per_delivery, results[other].cpu_per_delivery
        if ours and theirs:
            ratio = ours / theirs
            yield Goal(what, f"{limit} × {other}", f"{ratio:.2f} ×", ratio <= limit)


def _latency(
    what: str, results: Mapping[str, Result], name: str, other: str, limit: float
) -> Iterator[Goal]:
    if name in results and other in results:
        ours, theirs = results[name].p99, results[other].p99
        if ours and theirs:
            ratio = ours / theirs
            yield Goal(what, f"{limit} × {other}", f"{ratio:.2f} ×", ratio <= limit)


def _of_requests(results: Mapping[str, Result]) -> Iterator[Goal]:
    ours, theirs = results.get(IME_LIVE.name), results.get(FASTAPI_REST.name)
    if ours and ours.cpu_per_request:
        cpu = ours.cpu_per_request
        what = "CPU of a snapshot by plain HTTP"
        # Two thousand a second on one core.
        yield Goal(what, "500 µs", f"{cpu:.0f} µs", cpu <= 500)
        if theirs and theirs.cpu_per_request:
            ratio = cpu / theirs.cpu_per_request
            yield Goal(what, f"0.5 × {FASTAPI_REST.name}", f"{ratio:.2f} ×", ratio <= 0.5)


def _absolute(by_name: Mapping[str, Mapping[str, Result]]) -> Iterator[Goal]:
    single = by_name.get("single", {})
    for name, limit in ((IME_LIVE.name, 7_000), (IME_LIVE_DEFLATE.name, 9_000)):
        # The more connections, the less a page here or there counts.
        result = by_name.get("storm", {}).get(name) or single.get(name)
        if result and result.memory_per_connection is not None:
            memory = result.memory_per_connection
            yield Goal(
                f"memory of an idle connection, {name}",
                f"{limit / 1000:g} kB",
                f"{memory / 1000:.1f} kB",
                memory <= limit,
            )
    plain, deflated = single.get(IME_LIVE.name), single.get(IME_LIVE_DEFLATE.name)
    if plain and plain.cpu_per_handshake:
        cpu = by_name.get("storm", single).get(IME_LIVE.name, plain).cpu_per_handshake or 0.0
        yield Goal("CPU of a handshake with an HS256 token", "400 µs", f"{cpu:.0f} µs", cpu <= 400)
    if plain and deflated and plain.bytes_per_message and deflated.bytes_per_message:
        ratio = deflated.bytes_per_message / plain.bytes_per_message
        yield Goal("bytes a message, deflate", "0.55 × plain", f"{ratio:.2f} ×", ratio <= 0.55)
    slow = by_name.get("slow", {}).get(IME_LIVE.name)
    steady = by_name.get("steady", {}).get(IME_LIVE.name)
    if slow and steady and slow.p99 and steady.p99:
        ratio = slow.p99 / steady.p99
        what = "p99 of the others beside a slow reader"
        yield Goal(what, "1.1 × without", f"{ratio:.2f} ×", ratio <= 1.1)
    if slow and slow.slow_age is not None and slow.memory_growth is not None:
        # Its receive buffer, and what the kernel may hold unsent before the client is paused.
        seconds = (SLOW_BUFFER + GatewaySettings.unsent_limit) / SLOW_RATE
        age = slow.slow_age / 1e6
        what = "age of the slow reader's messages"
        yield Goal(what, f"{seconds:.2f} s in buffers", f"{age:.2f} s", age <= seconds)
        growth = slow.memory_growth / 1e6
        yield Goal("memory that it takes", "1 MB", f"{growth:.1f} MB", growth <= 1)
