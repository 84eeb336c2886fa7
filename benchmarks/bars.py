"""Bars of a busy market: their cost, and the trades that a kill of the aggregator loses.

``ime-live bars`` runs twice on a Valkey of its own, as leader and standby. Each contract trades
once a second; then the leader is killed, and trading goes on. A trade counts as delivered if it is
in the bar of its own minute.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from datetime import date, datetime
from typing import Final

from benchmarks.loads import Bars, Result
from benchmarks.processes import LOAD_CORE, ROOT, SERVER_CORE, Contender, Running, cpu_of
from ime_live.contracts import Contract
from ime_live.feeds.synthetic.simulator import SyntheticMarket
from ime_live.local.embedded import EmbeddedValkey
from ime_live.market import MICROSECONDS, Payload
from ime_live.market_json import merge
from ime_live.publisher import Publisher
from ime_live.settings import StoreSettings
from ime_live.status import FeedState
from ime_live.store.bar import Bar, pack
from ime_live.store.bar_store import BarStore, BarWrite
from ime_live.store.lease import BARS, Lease
from ime_live.store.store import Store
from ime_live.timezones import TEHRAN, zone_of

_SESSION: Final = 315  # minutes of the longest session, 11:45 to 17:00
_BATCH: Final = 50
_PATIENCE: Final = 30.0  # seconds for a start, a takeover and the last bars
_ZONE: Final = zone_of(TEHRAN)


def _not_a_server(port: int, redis: int) -> Running:
    raise RuntimeError(f"ime-live bars does not serve: {port}, {redis}")


IME_LIVE_BARS: Final = Contender("ime-live bars", None, _not_a_server, "")


def measure_bars(load: Bars, seed: int) -> Result:
    """Measure the bars of a busy market, and kill the leading aggregator.

    Raises:
        RuntimeError: no process leads, or the standby does not take over.
    """
    os.sched_setaffinity(0, {LOAD_CORE})
    return asyncio.run(_measure(load, seed))


async def _measure(load: Bars, seed: int) -> Result:
    ids = [str(n) for n in range(load.contracts)]
    with EmbeddedValkey() as valkey:
        settings = StoreSettings(redis_url=valkey.url)
        async with Store(settings) as store, Publisher(valkey.url) as publisher:
            lease = Lease(settings, program=BARS, connections=store.connections)
            bars = BarStore(settings, connections=store.connections)
            await store.import_contracts(
                [Contract(contract_id=i, contract_name=f"C{i}") for i in ids]
            )
            trading = _Trading(publisher, load, seed)
            processes = [_start(valkey.url)]
            try:
                first = await _leader(lease)
                processes.append(_start(valkey.url))
                await trading.run(max(2.0, load.seconds / 4))
                begun, used = time.monotonic(), cpu_of(processes[0].pid)
                await trading.run(load.seconds)
                seconds = time.monotonic() - begun
                result = Result(cores=(cpu_of(processes[0].pid) - used) / MICROSECONDS / seconds)
                processes[0].kill()
                processes[0].wait()
                await trading.run(2.0)
                await _leader(lease, other_than=first)
                await trading.run(2.0)
                result.offered = trading.expected.total()
                result.delivered = await _delivered(bars, trading)
            finally:
                for process in processes:
                    process.kill()
                    process.wait()
            result.memory_of_day = await _memory(store, bars, ids)
    return result


def _start(url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "ime_live", "bars", "--redis-url", url],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
    )


async def _leader(lease: Lease, *, other_than: str = "") -> str:
    """Wait for a leader that keeps the bars of all contracts, and return its name."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        status, led = await lease.read()
        if led and status and status.state is FeedState.LIVE and status.feed != other_than:
            return status.feed
        await asyncio.sleep(0.05)
    raise RuntimeError(f"a process must keep bars within {_PATIENCE:.0f} s, but none does")


class _Trading:
    """Trades of all contracts in turn, and in which minute each was."""

    def __init__(self, publisher: Publisher, load: Bars, seed: int) -> None:
        [(_, self._template), *_] = SyntheticMarket(1, datetime.now(_ZONE)).states()
        self._publisher = publisher
        self._load = load
        self._prices = random.Random(seed)  # noqa: S311 - repeatable
        self._volume = [0] * load.contracts
        self.expected: Counter[tuple[int, date, int]] = Counter()
        """Trades by contract, day and minute."""

    async def run(self, seconds: float) -> None:
        begun, sent = time.monotonic(), 0
        while time.monotonic() - begun < seconds:
            await self._publisher.publish_many([self._state() for _ in range(_BATCH)])
            sent += _BATCH
            await asyncio.sleep(max(0.0, begun + sent / self._load.per_second - time.monotonic()))

    def _state(self) -> tuple[str, Payload]:
        now = datetime.now(_ZONE)
        contract = self.expected.total() % self._load.contracts
        self._volume[contract] += 1
        self.expected[contract, now.date(), now.hour * 60 + now.minute] += 1
        part = {
            "date": now.date().isoformat(),
            "time": now.strftime("%H:%M:%S"),
            "last_price": 1000 + self._prices.randrange(50),
            "total_volume": self._volume[contract],
            "trade_count": self._volume[contract],
            "total_value": self._volume[contract] * 1000,
        }
        return str(contract), merge(self._template, {"Aggregate": part})


async def _delivered(bars: BarStore, trading: _Trading) -> int:
    """Return the number of trades in the bars of their minutes, once it grows no more."""
    days = sorted({(contract, day) for contract, day, _ in trading.expected})
    end = time.monotonic() + _PATIENCE
    while True:
        found = await bars.read([(str(contract), day) for contract, day in days])
        kept: Counter[tuple[int, date, int]] = Counter()
        for (contract, day), each in zip(days, found, strict=True):
            before = 0
            for bar in each:
                kept[contract, day, bar.minute] = int(bar.trades) - before
                before = int(bar.trades)
        delivered = (kept & trading.expected).total()
        if delivered == trading.expected.total() or time.monotonic() > end:
            return delivered
        await asyncio.sleep(0.2)


async def _memory(store: Store, bars: BarStore, ids: list[str]) -> int:
    """Return the bytes that a full trading day of all contracts takes."""
    day = date(2026, 1, 1)
    records = pack(Bar(705 + n, *(1.0,) * 4, n, n, n, 1, 1, 1) for n in range(_SESSION))
    await bars.write([BarWrite(i, day, None, 0, records) for i in ids], 1, 3600)
    sizes = await store._pipelined([("MEMORY", "USAGE", store.keys.bars(i, day)) for i in ids])
    return sum(sizes)
