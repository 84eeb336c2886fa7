"""The metrics of the bar aggregator, asked from a process."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from ime_live.contracts import Contract
from ime_live.local.embedded import EmbeddedValkey
from ime_live.process.listener import bind
from ime_live.publisher import Publisher
from ime_live.settings import StoreSettings
from ime_live.store.store import Store
from tests.bars.test_aggregator import IDS, Trading
from tests.support.gateways import PATIENCE, Command
from tests.support.servers import free_port


class Bars(Command):
    """A process of ``ime-live bars`` with a port for metrics."""

    def __init__(self, folder: Path, valkey: EmbeddedValkey) -> None:
        self.port = free_port()
        port = ("--bars-metrics-port", str(self.port))
        super().__init__(folder, ["bars", "--redis-url", valkey.url, "--log-format", "json", *port])

    async def ask(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
            return await client.get(f"http://127.0.0.1:{self.port}{path}")

    async def metrics(self) -> dict[str, float]:
        text = (await self.ask("/metrics")).text
        return {
            sample.name.removeprefix("ime_live_"): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def until(self, **values: float) -> dict[str, float]:
        """Wait until metrics have at least these values, and return all of them."""
        async with asyncio.timeout(PATIENCE):
            while True:
                found = await self.metrics()
                if all(found[name] >= value for name, value in values.items()):
                    return found
                await asyncio.sleep(0.05)


async def test_metrics_of_bars_show_the_leader_and_the_standby(
    valkey: EmbeddedValkey, redis: Redis, tmp_path: Path
) -> None:
    del redis  # it empties the store
    async with Store(StoreSettings(redis_url=valkey.url)) as store:
        await store.import_contracts([Contract(contract_id=i, contract_name=f"C{i}") for i in IDS])
    bars = Bars(tmp_path / "first", valkey)
    others = []
    try:
        await bars.logged("this bar aggregator leads")
        await bars.until(streams_followed=1)
        standby = Bars(tmp_path / "standby", valkey)
        others.append(standby)
        await standby.logged("another bar aggregator leads; standing by")
        async with Publisher(valkey.url) as publisher:
            await Trading(publisher).trade(5)
        found = await bars.until(bars_changed_total=10, bars_written_total=2)
        assert (found["leader"], found["bars_contracts"]) == (1, 2)
        assert found["updates_received_total"] == 10
        assert found["store_write_duration_seconds_count"] > 0
        assert found["process_cpu_seconds_total"] > 0
        assert (await bars.ask("/ready")).status_code == 200
        assert (await bars.ask("/health")).json() == {"status": "ok"}
        found = await standby.until(bars_changed_total=10, streams_followed=1)
        assert (found["leader"], found["bars_written_total"], found["bars_lag_seconds"]) == (
            0,
            0,
            0,
        )
        assert (await standby.ask("/ready")).status_code == 200
        # The log's level is reloaded; the rest of its settings need a new start.
        bars.signal(signal.SIGHUP)
        await bars.logged("settings reloaded")
        bars.signal(signal.SIGTERM)
        assert await bars.ended() == 0
        await standby.until(leader=1, bars_written_total=1)
    finally:
        for each in (bars, *others):
            each.end()


@pytest.mark.parametrize("command", [["bars"], ["feed", "ime"]])
async def test_port_for_metrics_that_is_taken_is_an_error(
    command: list[str], valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    flag = f"--{command[0]}-metrics-port"
    with bind("127.0.0.1", 0) as listener:
        listener.listen()
        port = str(listener.getsockname()[1])
        process = Command(tmp_path / "taken", [*command, "--redis-url", valkey.url, flag, port])
        assert await process.ended() == 2
    assert f"cannot listen on 127.0.0.1:{port}" in process.output
    assert f"give another {flag}" in process.output
