"""The soak: half a core's load for ten minutes, and the growth of the memory; ``make soak``.

A thousand clients take bursts of a hundred contracts; every second some leave and others join.
Writes `docs/soak.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.__main__ import register
from benchmarks.contenders import IME_LIVE
from benchmarks.load import Clients
from benchmarks.processes import LOAD_CORE, Running, free_port, tokens
from benchmarks.report import machine, versions
from ime_live.local.embedded import EmbeddedValkey

_DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "soak.md"
_CLIENTS: Final = 1_000
_CONTRACTS: Final = 100
_OF_EACH: Final = 20
_BURST: Final = 20
_COMING_AND_GOING: Final = 5  # clients a second
_GROWTH: Final = 0.05
"""By how much the memory may differ after the first minute: noise of the allocator."""


class Soak:
    """One run, with a sample of CPU and memory each second."""

    def __init__(self, running: Running, clients: Clients) -> None:
        self._running = running
        self._clients = clients
        [self._token] = tokens(1)
        self._random = random.Random(1)  # noqa: S311 - repeatable
        self.memory: list[int] = []
        self.cpu: list[float] = []
        self.offered = 0

    def run(self, seconds: int) -> None:
        """Put the load on, for so many seconds."""
        self._join(_CLIENTS)
        self._clients.reset()
        begin, cpu = time.monotonic(), self._running.cpu()
        rate = 10.0
        due = begin
        for second in range(seconds):
            while due < begin + second + 1:
                self._clients.drain(max(0.0, due - time.monotonic()))
                self._running.publisher.publish(
                    [self._random.randrange(_CONTRACTS) for _ in range(_BURST)]
                )
                due = max(due + 1 / rate, time.monotonic() - 1)
            used = self._running.cpu()
            share = (used - cpu) / 1e6
            cpu = used
            # Approach half a core, however fast the machine is today.
            rate = min(200.0, max(1.0, rate * (1 + 0.2 * (0.5 - share) / 0.5)))
            self.cpu.append(share)
            self.memory.append(self._running.memory())
            self._clients.tally.latencies.clear()
            self._clients.leave(_COMING_AND_GOING)
            self._join(_COMING_AND_GOING)

    def _join(self, count: int) -> None:
        selections = [self._random.sample(range(_CONTRACTS), _OF_EACH) for _ in range(count)]
        requests = [self._running.request_of(selection, self._token) for selection in selections]
        self._clients.connect(self._running.port, requests)


def main() -> None:
    """Run the soak, and write its report."""
    parser = argparse.ArgumentParser(prog="make soak", description=main.__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    seconds: int = parser.parse_args().seconds
    os.sched_setaffinity(0, {LOAD_CORE})
    with EmbeddedValkey(tcp=True) as valkey:
        asyncio.run(register(valkey.url))
        running = IME_LIVE.start(free_port(), int(valkey.url.rpartition(":")[2]))
        clients = Clients()
        soak = Soak(running, clients)
        try:
            soak.run(seconds)
        finally:
            clients.close()
            running.stop()
    text = report(soak.memory, soak.cpu, clients.tally.messages)
    print(text)
    if seconds >= 600:
        _DOCUMENT.write_text(text, encoding="utf-8")
    if growth(soak.memory) > _GROWTH:
        sys.exit("the memory grows")


def growth(memory: Sequence[int]) -> float:
    """How much more memory there is in the last minute than in the second, as a fraction."""
    if len(memory) < 180:
        return 0.0
    early, late = memory[60:120], memory[-60:]
    return sum(late) / len(late) / (sum(early) / len(early)) - 1


def report(memory: Sequence[int], cpu: Sequence[float], messages: int) -> str:
    """The report in Markdown."""
    rows = [
        f"| {second // 60 + 1} | {memory[min(second + 59, len(memory) - 1)] / 1e6:.1f} "
        f"| {sum(cpu[second : second + 60]) / len(cpu[second : second + 60]):.0%} |"
        for second in range(0, len(memory), 60)
    ]
    return "\n".join(
        [
            "# Soak",
            "",
            "Written by `make soak`: 1,000 clients of 20 contracts each, some leaving and joining",
            "every second, at about half a core.",
            "",
            f"{datetime.now(UTC):%Y-%m-%d}, {machine()}. {versions()}.",
            "",
            f"{messages:,} messages in {len(memory)} s.",
            f"Memory of the last minute against the second: {growth(memory):+.1%}.",
            "",
            "| minute | memory at its end, MB | CPU |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    main()
