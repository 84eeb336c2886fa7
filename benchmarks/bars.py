"""Measure the bars of 500 contracts at 500 changes a second: ``python -m benchmarks.bars``.

It runs ``ime-live bars`` on a Valkey of its own, kills it once, and holds what it finds against the
goals: at most a tenth of a core, and all of the volume in the bars after the kill. It ends with
status 1 if one of them is missed, and prints the memory of a full trading day.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from datetime import date, datetime
from pathlib import Path
from typing import Final

from ime_live.contracts import Contract
from ime_live.feeds.synthetic.simulator import SyntheticMarket
from ime_live.local.embedded import EmbeddedValkey
from ime_live.market import Payload
from ime_live.market_json import merge
from ime_live.publisher import Publisher
from ime_live.settings import StoreSettings
from ime_live.store.bar import Bar, pack
from ime_live.store.bar_store import BarStore, BarWrite
from ime_live.store.store import Store
from ime_live.timezones import TEHRAN, zone_of

CONTRACTS: Final = 500
SECONDS: Final = 20.0
MOST_CPU: Final = 0.1
"""Cores."""

SESSION: Final = 315
"""Minutes of the longest session, 11:45 to 17:00."""

_BATCH: Final = 50
_ZONE: Final = zone_of(TEHRAN)
_TICKS: Final = os.sysconf("SC_CLK_TCK")


async def _start(url: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ime_live", "bars", "--redis-url", url)
    )


def _cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _template() -> Payload:
    [(_, payload), *_] = SyntheticMarket(1, datetime.now(_ZONE)).states()
    return payload


async def _trade(publisher: Publisher, seconds: float, volume: list[int]) -> None:
    """Publish one change per contract and second."""
    template, chosen = _template(), random.Random(1)  # noqa: S311 - prices
    end, begun = time.monotonic() + seconds, time.monotonic()
    sent = 0
    while time.monotonic() < end:
        now = datetime.now(_ZONE)
        states = []
        for n in range(sent, sent + _BATCH):
            index = n % CONTRACTS
            volume[index] += 1
            part = {
                "date": now.date().isoformat(),
                "time": now.strftime("%H:%M:%S"),
                "last_price": 1000 + chosen.randrange(50),
                "total_volume": volume[index],
                "trade_count": volume[index],
                "total_value": volume[index] * 1000,
            }
            states.append((str(index), merge(template, {"Aggregate": part})))
        await publisher.publish_many(states)
        sent += _BATCH
        await asyncio.sleep(max(0.0, begun + sent / CONTRACTS - time.monotonic()))


async def _reach(bars: BarStore, volume: list[int]) -> bool:
    """Wait until the bars have all of the volume; return whether they have."""
    wanted = [(str(n), datetime.now(_ZONE).date()) for n in range(CONTRACTS)]
    for _ in range(100):
        found = await bars.read(wanted)
        if all(each and each[-1].volume == most for each, most in zip(found, volume, strict=True)):
            return True
        await asyncio.sleep(0.2)
    return False


async def _memory(store: Store, bars: BarStore) -> float:
    """Return the megabytes that a full trading day of all contracts takes."""

    day = [Bar(705 + n, *(1.0,) * 4, n, n, n, 1, 1, 1) for n in range(SESSION)]
    writes = [BarWrite(str(n), date(2026, 1, 1), None, 0, pack(day)) for n in range(CONTRACTS)]
    await bars.write(writes, 1, 3600)
    sizes = await store._pipelined(
        [("MEMORY", "USAGE", store.keys.bars(str(n), date(2026, 1, 1))) for n in range(CONTRACTS)]
    )
    return float(sum(sizes)) / 1e6


async def main() -> int:
    """Measure, print the figures, and return the exit status."""
    with EmbeddedValkey() as valkey:
        settings = StoreSettings(redis_url=valkey.url)
        async with Store(settings) as store, Publisher(valkey.url) as publisher:
            bars = BarStore(settings, connections=store.connections)
            await store.import_contracts(
                [Contract(contract_id=str(n), contract_name=f"C{n}") for n in range(CONTRACTS)]
            )
            volume = [0] * CONTRACTS
            process = await _start(valkey.url)
            try:
                await _trade(publisher, 5, volume)
                begun, used = time.monotonic(), _cpu(process.pid)
                await _trade(publisher, SECONDS, volume)
                cpu = (_cpu(process.pid) - used) / (time.monotonic() - begun)
                process.kill()
                await process.wait()
                await _trade(publisher, 2, volume)
                process = await _start(valkey.url)
                await _trade(publisher, 2, volume)
                whole = await _reach(bars, volume)
            finally:
                process.kill()
                await process.wait()
            memory = await _memory(store, bars)
    print(f"bars of {CONTRACTS} contracts at {CONTRACTS} changes/s: {cpu:.3f} cores")
    print(f"goal: at most {MOST_CPU} cores: {'holds' if cpu <= MOST_CPU else 'MISSED'}")
    print(f"goal: all volume after a kill: {'holds' if whole else 'MISSED'}")
    print(f"memory of a full day ({SESSION} bars per contract): {memory:.1f} MB")
    return 0 if whole and cpu <= MOST_CPU else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
