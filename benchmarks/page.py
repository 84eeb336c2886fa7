"""Measure the market page in Chromium: ``python -m benchmarks.page``.

500 contracts change 50 times a second, then 500 times a second as at the opening, then 500 times a
second for ten minutes. It counts frames, long tasks (those of more than 50 ms, by the W3C's Long
Tasks), the time of the page's main thread, and memory after garbage collection; and writes the
section "page" of `docs/performance.md`. ``--seconds`` makes the last run shorter; ``--quick`` runs
each for some seconds and writes nothing.

Measure on an idle machine: a long task is one of the clock, so it also counts the time for which
the page waits for a core. In a trace at 500 updates a second, the longest task took 56 ms of the
clock, and 6.5 ms of them on a core.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from benchmarks.processes import free_port
from benchmarks.report import machine, write_page_section
from ime_live.contracts import Contract, Market
from ime_live.feeds.synthetic.simulator import SyntheticMarket
from ime_live.local.embedded import EmbeddedValkey
from ime_live.market_json import merge
from ime_live.publisher import Publisher
from ime_live.settings import StoreSettings
from ime_live.status import FeedState, FeedStatus, MarketStatus
from ime_live.store.lease import LEASE, Lease
from ime_live.store.store import Store
from ime_live.timezones import TEHRAN, zone_of
from tests.support.chromium import Page, chromium, page_at, tab

CONTRACTS: Final = 500
RUNS: Final = ((50, 30), (500, 30), (500, 600))
"""Updates a second, and seconds."""

_STEPS: Final = 10  # a second
_ZONE: Final = zone_of(TEHRAN)
_START: Final = """(() => {
  window.seen = {frames: [], tasks: []};
  const tasks = new PerformanceObserver(list =>
    seen.tasks.push(...list.getEntries().map(each => each.duration)));
  tasks.observe({type: "longtask"});
  let last = performance.now(), running = true;
  (function frame(now) {
    if (!running) return;
    seen.frames.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  })(last);
  window.stop = () => { running = false; tasks.disconnect(); };
})()"""


class Measured(Struct, frozen=True):
    """One run of the page.

    Attributes:
        rate: updates a second, as published.
        seconds: that it lasted.
        frames: a second.
        late: the 99th percentile of the time between two frames, in milliseconds.
        tasks: long tasks.
        longest: the longest of them, in milliseconds; 0 without one.
        busy: share of the page's main thread that was in use.
        heap: MB of JavaScript objects after garbage collection, at the begin and the end.
        nodes: DOM nodes, at the begin and the end.
    """

    rate: float
    seconds: float
    frames: float
    late: float
    tasks: int
    longest: float
    busy: float
    heap: tuple[float, float]
    nodes: tuple[int, int]


@contextmanager
def _gateway(url: str) -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-m", "ime_live", "serve", "--redis-url", url, "--auth", "none"]
    command += ["--port", str(port), "--log-level", "warning", "--shutdown-grace", "0"]
    with subprocess.Popen(command) as process:  # noqa: S603 - ours
        try:
            while True:
                connection = HTTPConnection("127.0.0.1", port, timeout=5)
                with suppress(OSError):
                    connection.request("GET", "/ready")
                    if connection.getresponse().status == 200:
                        break
                connection.close()
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()


async def _attend(settings: StoreSettings) -> None:
    """Be the feed that leads, and that is live."""
    async with Lease(settings, "benchmark") as lease:
        while True:
            if (await lease.take()).leads:
                now = time.time_ns() // 1000
                markets = {Market.FUTURES: MarketStatus(FeedState.LIVE, now, CONTRACTS, None)}
                await lease.write(
                    FeedStatus(FeedState.LIVE, now, last_board=now, markets=markets, written=now)
                )
            await asyncio.sleep(LEASE / 4)


async def _trade(publisher: Publisher, rate: int, seconds: float) -> int:
    """Publish changes of random contracts at a rate, and return how many there were."""
    [(_, template), *_] = SyntheticMarket(1, datetime.now(_ZONE)).states()
    chosen = random.Random(1)  # noqa: S311 - prices
    began = time.monotonic()
    count = 0
    while (passed := time.monotonic() - began) < seconds:
        states = []
        while count < passed * rate:
            count += 1
            price = 80_000 + chosen.randrange(-400, 400)
            part = {"last_price": price, "previous_close": 80_000, "total_volume": count}
            state = merge(template, {"Aggregate": part})
            states.append((str(chosen.randrange(CONTRACTS)), state))
        await publisher.publish_many(states)
        await asyncio.sleep(1 / _STEPS)
    return count


async def _metrics(page: Page) -> dict[str, float]:
    await page.command("HeapProfiler.collectGarbage")
    found = (await page.command("Performance.getMetrics"))["metrics"]
    return {each["name"]: each["value"] for each in found}


async def _measure(page: Page, publisher: Publisher, rate: int, seconds: int) -> Measured:
    before = await _metrics(page)
    await page.evaluate(_START)
    began = time.monotonic()
    count = await _trade(publisher, rate, seconds)
    lasted = time.monotonic() - began
    seen: dict[str, Any] = await page.evaluate("(stop(), seen)")
    # The numbers of this run are taken before its garbage is collected, which takes time as well.
    after = {
        each["name"]: each["value"]
        for each in (await page.command("Performance.getMetrics"))["metrics"]
    }
    await page.evaluate("seen = null")
    rest = await _metrics(page)
    frames = sorted(seen["frames"])
    return Measured(
        rate=count / lasted,
        seconds=lasted,
        frames=len(frames) / lasted,
        late=frames[int(len(frames) * 0.99)],
        tasks=len(seen["tasks"]),
        longest=max(seen["tasks"], default=0.0),
        busy=(after["TaskDuration"] - before["TaskDuration"]) / lasted,
        heap=(before["JSHeapUsedSize"] / 1e6, rest["JSHeapUsedSize"] / 1e6),
        nodes=(int(before["Nodes"]), int(rest["Nodes"])),
    )


async def _run(
    browser: str, url: str, port: int, runs: tuple[tuple[int, int], ...]
) -> list[Measured]:
    settings = StoreSettings(redis_url=url)
    async with Publisher(url) as publisher, page_at(browser) as page:
        attending = asyncio.create_task(_attend(settings))
        await page.command("Emulation.setDeviceMetricsOverride", width=1440, height=900,
                           deviceScaleFactor=1, mobile=False)  # fmt: skip
        await page.command("Performance.enable")
        await _trade(publisher, CONTRACTS, 5)
        await page.visit(f"http://127.0.0.1:{port}/#contract=GOLD001")
        await page.until(f"document.querySelector('.grid').ariaRowCount > {CONTRACTS}")
        await _trade(publisher, 100, 5)  # the scripts are compiled
        found = []
        for rate, seconds in runs:
            found.append(await _measure(page, publisher, rate, seconds))
            print(found[-1], flush=True)
        attending.cancel()
        await asyncio.gather(attending, return_exceptions=True)
    return found


def _table(found: list[Measured]) -> str:
    heads = (
        *("updates a second", "seconds", "frames a second", "p99 ms between frames", "long tasks"),
        *("longest ms", "main thread busy", "heap MB, begin and end", "nodes, begin and end"),
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines += [
        f"| {one.rate:.0f} | {one.seconds:.0f} | {one.frames:.0f} | {one.late:.0f} | {one.tasks} "
        f"| {one.longest:.0f} | {one.busy:.0%} | {one.heap[0]:.1f}, {one.heap[1]:.1f} "
        f"| {one.nodes[0]:,}, {one.nodes[1]:,} |"
        for one in found
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some seconds each, nothing written")
    parser.add_argument(
        "--seconds", type=int, default=RUNS[-1][1], help="length of the last run; default: 600"
    )
    given = parser.parse_args()
    quick = given.quick
    if given.seconds < 1:
        parser.error(f"--seconds must be 1 or more, got {given.seconds}")
    last = (RUNS[-1][0], given.seconds)
    runs = tuple((rate, 8) for rate, _ in RUNS[:2]) if quick else (*RUNS[:-1], last)
    contracts = [
        Contract(
            contract_id=str(n), contract_name=f"GOLD{n:03}", market=Market.FUTURES, title="طلا"
        )
        for n in range(CONTRACTS)
    ]

    async def register(url: str) -> None:
        async with Store(StoreSettings(redis_url=url)) as store:
            await store.import_contracts(contracts)

    with tempfile.TemporaryDirectory() as home, EmbeddedValkey() as valkey:
        asyncio.run(register(valkey.url))
        browsers: Any = chromium(Path(home))  # generators, which their tests' fixtures are
        tabs: Any = tab(next(browsers))
        try:
            with _gateway(valkey.url) as port:
                found = asyncio.run(_run(next(tabs), valkey.url, port, runs))
        finally:
            for each in (tabs, browsers):
                next(each, None)  # to its end
    print(_table(found))
    if not quick:
        measured_on = (
            f"{datetime.now(_ZONE):%Y-%m-%d}, {machine()}. Load average over 15 minutes, "
            f"at the end: {os.getloadavg()[2]:.1f}; where it exceeds the cores, "
            "tasks and frames wait for them."
        )
        write_page_section(measured_on, _table(found))


if __name__ == "__main__":
    main()
