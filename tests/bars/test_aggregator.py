"""The bars of real streams: over a kill, a takeover, a store that was emptied, and by REST."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

import ime_live
from ime_live.bars.aggregator import BarAggregator
from ime_live.bars.contract_bars import ContractBars
from ime_live.clock import Clock
from ime_live.contracts import Contract
from ime_live.local.embedded import EmbeddedValkey
from ime_live.publisher import Publisher
from ime_live.settings import BarsSettings, StoreSettings
from ime_live.store.bar import Bar, pack
from ime_live.store.bar_store import BarStore, BarWrite
from ime_live.store.store import Store
from ime_live.timezones import TEHRAN, zone_of
from tests.support.gateways import Command, Gateway
from tests.support.payloads import payload

IDS = ["1", "2"]
ZONE = zone_of(TEHRAN)
Eventually = Callable[..., Any]


@pytest.fixture
async def store(valkey: EmbeddedValkey, redis: Redis) -> AsyncIterator[Store]:
    del redis  # it empties the store
    async with Store(StoreSettings(redis_url=valkey.url)) as made:
        await made.import_contracts([Contract(contract_id=i, contract_name=f"C{i}") for i in IDS])
        yield made


Start = Callable[[str], Command]


@pytest.fixture
def start(valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[Start]:
    started: list[Command] = []

    def run(name: str) -> Command:
        command = Command(
            tmp_path / name, ["bars", "--redis-url", valkey.url, "--log-format", "json"]
        )
        started.append(command)
        return command

    yield run
    for each in started:
        each.end()


class Trading:
    """Trades one contract after the other; each state has one more of volume."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.volume = 0

    async def trade(self, count: int = 1) -> None:
        for _ in range(count):
            self.volume += 1
            now = datetime.now(ZONE)
            state = payload(
                100 + self.volume % 7,
                date=now.date().isoformat(),
                time=now.strftime("%H:%M:%S"),
                trade_count=self.volume,
                total_volume=self.volume,
                total_value=self.volume * 100,
                open_price=101,
                high_price=106,
                low_price=100,
            )
            await self._publisher.publish_many([(i, state) for i in IDS])


async def bars_of(store: Store) -> list[list[Bar]]:
    today = datetime.now(ZONE).date()
    settings = StoreSettings()
    return await BarStore(settings, connections=store.connections).read([(i, today) for i in IDS])


async def reach(store: Store, volume: int, *, timeout: float = 30) -> list[list[Bar]]:  # noqa: ASYNC109
    """Wait until the bars have all of this volume."""
    async with asyncio.timeout(timeout):
        while True:
            found = await bars_of(store)
            if all(bars and bars[-1].volume == volume for bars in found):
                return found
            await asyncio.sleep(0.02)


async def test_bars_lose_nothing_over_a_kill_and_a_takeover(
    valkey: EmbeddedValkey, store: Store, start: Start, redis: Redis
) -> None:
    async with Publisher(valkey.url) as publisher:
        trading = Trading(publisher)
        first = start("first")
        await first.logged("this bar aggregator leads")
        standby = start("standby")
        await standby.logged("another bar aggregator leads; standing by")
        await trading.trade(20)
        await reach(store, trading.volume)
        first.signal(signal.SIGKILL)
        first.wait()
        await trading.trade(20)
        await standby.logged("this bar aggregator leads")
        found = await reach(store, trading.volume)
        key = (await redis.keys("ime:bars:{2}*"))[0]
        older = await redis.get(key)
        assert older is not None
        # A restart in the middle of a day takes up what is stored.
        standby.signal(signal.SIGKILL)
        standby.wait()
        await trading.trade(5)
        last = start("last")
        await last.logged("this bar aggregator leads")
        after = await reach(store, trading.volume)
        for bars, before in zip(after, found, strict=True):
            assert bars[: len(before) - 1] == before[:-1]
            assert {each.minute for each in bars} >= {each.minute for each in before}
        # Lost bars, and those of an older copy, are written again although nothing changes.
        await redis.delete(*(await redis.keys("ime:bars:{1}*")))
        await redis.set(key, older)
        assert await reach(store, trading.volume) == after
        last.signal(signal.SIGTERM)
        assert last.wait() == 0


async def test_deposed_bar_aggregator_writes_nothing_until_it_leads_again(
    valkey: EmbeddedValkey, store: Store, start: Start, redis: Redis
) -> None:
    async with Publisher(valkey.url) as publisher:
        trading = Trading(publisher)
        first = start("first")
        await first.logged("this bar aggregator leads")
        await trading.trade(5)
        before = await reach(store, trading.volume)
        theirs = time.time_ns() // 1000
        await redis.set("ime:bars", f"{theirs} other", px=3000)
        await first.logged("another bar aggregator leads; standing by")
        # The other one has bars that this one has not seen, and none of its later ones.
        older = Bar(0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0)
        today = datetime.now(ZONE).date()
        other = BarStore(StoreSettings(), connections=store.connections)
        write = BarWrite("1", today, None, 0, pack([older]))
        assert await other.write([write], theirs, 1000) == [True]
        await trading.trade(5)
        await asyncio.sleep(1.2)  # longer than it takes from a state to its writing
        assert await bars_of(store) == [[older], before[1]]
        after = await reach(store, trading.volume)
        assert after[0][0] == older
        assert [bar.volume for bar in after[0][1:]] == [bar.volume for bar in after[1]]


async def test_bars_of_a_day_whose_last_state_is_lost_are_kept(
    valkey: EmbeddedValkey, store: Store, start: Start, redis: Redis
) -> None:
    async with Publisher(valkey.url) as publisher:
        trading = Trading(publisher)
        first = start("first")
        await first.logged("this bar aggregator leads")
        await trading.trade(5)
        await reach(store, trading.volume)
        first.signal(signal.SIGTERM)
        assert first.wait() == 0
        older = Bar(0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0)
        today = datetime.now(ZONE).date()
        other = BarStore(StoreSettings(), connections=store.connections)
        write = BarWrite("1", today, None, 0, pack([older]))
        assert await other.write([write], time.time_ns() // 1000, 1000) == [True]
        await redis.hset("ime:last:{1}", "data", "no JSON")
        last = start("last")
        await last.logged("this bar aggregator leads")
        await trading.trade(5)
        found = await reach(store, trading.volume)
        assert found[0][0] == older


class EarlyClock(Clock):
    """A clock that is five minutes behind, so that present states are of a later minute."""

    def time(self) -> float:
        return super().time() - 300


async def test_contract_whose_channel_is_refused_has_a_gap_and_affects_no_other(
    own_valkey: EmbeddedValkey, eventually: Eventually
) -> None:
    settings = BarsSettings(redis_url=own_valkey.url)
    place = own_valkey.url.removeprefix("redis://")
    allowed = ("&ime:contracts", "&ime:revoked", "&ime:live:{}", "&ime:live:{2}")
    admin: Any
    async with (
        Redis.from_url(own_valkey.url) as admin,
        Store(settings) as store,
        Publisher(own_valkey.url) as publisher,
    ):

        async def allow(*channels: str) -> None:
            rules = ("on", ">pw", "+@all", "~*", "resetchannels", *channels)
            await admin.execute_command("ACL", "SETUSER", "u", *rules)

        await store.import_contracts([Contract(contract_id=i, contract_name=i) for i in IDS])
        await allow("&ime:*")
        refusing = BarsSettings(redis_url=f"redis://u:pw@{place}")
        aggregator = BarAggregator(refusing, clock=EarlyClock())
        running = asyncio.create_task(aggregator.run())
        await eventually(lambda: aggregator.follows)
        trading = Trading(publisher)
        await trading.trade(5)
        await reach(store, 5)
        await allow(*allowed)
        await eventually(lambda: not aggregator.follows)
        await eventually(lambda: aggregator.follows)
        await trading.trade(5)
        async with asyncio.timeout(30):
            while (found := await bars_of(store))[1][-1].volume < 10:  # noqa: ASYNC110 - in a server
                await asyncio.sleep(0.02)
        assert [found[0][-1].volume, *(bars[-1].gap for bars in found)] == [5, False, False]
        await allow("&ime:*")
        found = await reach(store, 10)
        assert [bars[-1].gap for bars in found] == [True, False]
        # A contract that is refused and then removed is forgotten.
        await allow(*allowed)
        await eventually(lambda: aggregator.unread == 1)
        await store.remove_contracts(IDS[:1])
        await eventually(lambda: aggregator.unread == 0)
        assert not aggregator._pubsub.refused
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class Deposed:
    """A leadership that another bar aggregator takes while the stored bars are read."""

    leads = True
    token = 5

    def __init__(self) -> None:
        self.written: list[int] = []

    async def read(self, days: Sequence[object]) -> list[list[Bar]]:
        self.token = 9
        return [[] for _ in days]

    async def write(self, writes: Sequence[object], token: int, keep: int) -> list[bool]:
        del keep
        self.written.append(token)
        return [True for _ in writes]


async def test_bars_are_written_with_the_token_of_their_own_leadership(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    aggregator = BarAggregator(BarsSettings())
    fake = Deposed()
    monkeypatch.setattr(aggregator, "leadership", fake)
    monkeypatch.setattr(aggregator.writer, "_store", fake)
    monkeypatch.setattr(aggregator, "_started", True)
    contract = ContractBars("1")
    contract.adopt(datetime.now(ZONE).date(), [Bar(0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0)])
    aggregator._contracts["1"] = contract
    await aggregator._write_if_leading()
    assert fake.written == [5]


async def test_candles_are_served_with_an_entity_tag(
    valkey: EmbeddedValkey, store: Store, start: Start, tmp_path: Path
) -> None:
    async with Publisher(valkey.url) as publisher:
        trading = Trading(publisher)
        await start("bars").logged("this bar aggregator leads")
        began = time.time()
        await trading.trade(30)
        await reach(store, trading.volume)
    gateway = Gateway(tmp_path / "gateway", valkey.url, auth="none")
    try:
        await asyncio.to_thread(gateway.when_ready)
        path = "/live/data/candles/contract/name?contract_names=C1"
        first = await asyncio.to_thread(gateway.get, path)
        tag = first.headers["ETag"]
        again = await asyncio.to_thread(gateway.request, "GET", path, {"If-None-Match": tag})
        assert (first.status, again.status) == (200, 304)
        url = f"http://127.0.0.1:{gateway.port}"
        async with ime_live.AsyncClient(url) as client:
            found = await client.candles(["C1", "NOPE"], interval="1d", start=_day(began))
            assert found["NOPE"] is None
            [candle] = found["C1"] or []
            assert (candle.volume, candle.trades, candle.value) == (30, 30, 3000)
            assert (candle.open, candle.high, candle.low, candle.close) == (101, 106, 100, 102)
            with pytest.raises(ime_live.SettingsError, match="interval must be one of"):
                await client.candles(["C1"], interval="2m")
        with ime_live.Client(url) as blocking:
            [minute, *_] = blocking.candles(contract_ids=[1])["1"] or []
            assert minute.to_dict()["open"] == 101
    finally:
        gateway.end()


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, ZONE).date().isoformat()
