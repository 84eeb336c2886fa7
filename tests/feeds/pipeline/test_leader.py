"""The leader, with a real store: its first writes, and repairs of a store that lost data."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from ime_live.feeds.boards.newest import NewestBoards
from ime_live.feeds.pipeline.fenced import FencedWriter
from ime_live.feeds.pipeline.ingest import Ingest
from ime_live.feeds.pipeline.leader import CONFIRM_INTERVAL, SETTLED_AFTER, Leader
from ime_live.feeds.pipeline.leadership import Leadership
from ime_live.feeds.pipeline.registrar import Registrar
from ime_live.local.embedded import EmbeddedValkey
from ime_live.publisher import Publisher
from ime_live.settings import StoreSettings
from ime_live.status import FeedState, FeedStatus
from ime_live.store.lease import Lease
from ime_live.store.store import Store
from tests.support.board_frames import read_frame
from tests.support.boards import board, row
from tests.support.clock import FakeClock

FUTURES = "updateFutureMarketsInfo"
LATEST = datetime.fromisoformat("2023-08-01T13:20:30")
Redis = Any  # redis-py's client, whose commands are loosely typed


class One:
    """A feed without its reading half."""

    def __init__(self, name: str, url: str) -> None:
        settings = StoreSettings(redis_url=url)
        self.clock = FakeClock()
        self.failovers = 0
        self.lease = Lease(settings, name)
        self.store = Store(settings)
        self.publisher = Publisher(url)
        newest = NewestBoards()
        self.writer = FencedWriter(self.publisher, Registrar(self.store), newest)
        self.ingest = Ingest(self.writer, self.writer.register, newest)
        self.leadership = Leadership(
            self.lease,
            lambda: FeedStatus(FeedState.LIVE, since=1, written=5),
            on_lead=lambda: self.leader.begin(),
            clock=self.clock,
        )
        self.leader = Leader(
            self.ingest,
            self.writer,
            self.leadership,
            boards={FUTURES},
            latest=lambda: LATEST,
            failovers=lambda: self.failovers,
            clock=self.clock,
        )

    async def lead(self) -> None:
        await self.leadership.renew()
        assert self.leadership.leads
        await self.leader.write()

    async def come(self, *prices: float, at: str = "13:20:11", **fields: object) -> None:
        """A board of contracts 1, 2, … comes, with these prices."""
        self.note(*prices, at=at, **fields)
        await self.leader.write()

    def note(self, *prices: float, at: str = "13:20:11", **fields: object) -> None:
        rows = [
            row("future", ContractID=n, ContractCode=f"X{n}", LastTradedPrice=price)
            | {"LastUpdate": f"2023-08-01T{at}"}
            | fields
            for n, price in enumerate(prices, 1)
        ]
        self.ingest.note(read_frame({"M": [board(FUTURES, *rows)]}), LATEST)

    async def confirm_all(self) -> None:
        for _ in range(60):
            self.clock.now += CONFIRM_INTERVAL / 50
            await self.leader.write()

    async def aclose(self) -> None:
        await self.lease.aclose()
        await self.store.aclose()
        await self.publisher.aclose()


@pytest.fixture
async def one(valkey: EmbeddedValkey) -> AsyncIterator[One]:
    made = One("one", valkey.url)
    yield made
    await made.aclose()


@pytest.fixture
async def other(valkey: EmbeddedValkey) -> AsyncIterator[One]:
    made = One("other", valkey.url)
    yield made
    await made.aclose()


async def prices(store: Store) -> dict[str, float]:
    states = await store.last(["1", "2", "3"])
    return {i: each.payload.aggregate.last_price for i, each in states.items()}


async def published(redis: Redis, work: Any) -> list[tuple[str, float]]:  # noqa: ANN401
    """Return the messages published while ``work`` is awaited, in order."""
    async with redis.pubsub(ignore_subscribe_messages=True) as messages:
        await messages.psubscribe("ime:live:*")
        await messages.get_message(timeout=5)
        await work
        await redis.publish("ime:live:end", "")
        found: list[tuple[str, float]] = []
        while True:
            message = await messages.get_message(timeout=5)
            if message is None:
                continue
            if message["channel"] == b"ime:live:end":
                return found
            contract_id = message["channel"].decode()[len("ime:live:{") : -1]
            price = json.loads(message["data"])["data"]["Aggregate"]["last_price"]
            found.append((contract_id, price))


# Coming to lead


async def test_new_leader_publishes_the_newest_board_once(
    one: One, store: Store, redis: Redis
) -> None:
    for second, price in enumerate((17.0, 1.0, 2.0)):
        one.note(price, price, at=f"13:20:1{second}")
    assert await published(redis, one.lead()) == [("1", 2), ("2", 2)]


async def test_new_leader_fences_the_old_one_first(
    one: One, other: One, store: Store, redis: Redis
) -> None:
    await one.lead()
    await one.come(1.0, 1.0)
    await redis.delete("ime:feed")
    other.note(1.0, 1.0)
    await other.lead()  # equal states, and the market stands still
    one.note(9.0, 9.0, 9.0)  # sent while it led, and held up until now
    await one.leader.write()
    # The new leader knows nothing of the third one.
    assert await prices(store) == {"1": 1, "2": 1}
    assert not one.leadership.leads
    assert [each.contract_id for each in await store.contracts()] == ["1", "2"]


async def test_refused_leader_stands_by_while_another_one_leads(
    one: One, other: One, redis: Redis
) -> None:
    await one.lead()
    await redis.delete("ime:feed")
    await other.lead()
    await one.come(1.0)
    await one.leadership.renew()
    assert not one.leadership.leads
    await other.lead()
    assert other.leadership.leads


async def test_refused_leader_without_a_rival_leads_again_with_a_greater_token(
    one: One, store: Store, redis: Redis
) -> None:
    await one.lead()
    token = one.leadership.token
    await redis.hset("ime:last:{1}", "token", token + 60_000_000)
    await one.come(1.0, 1.0)
    assert not one.leadership.leads
    await one.lead()
    assert one.leadership.token > token + 60_000_000
    assert await prices(store) == {"1": 1, "2": 1}


async def test_refused_status_ends_the_leadership(one: One, redis: Redis) -> None:
    await one.lead()
    newer = FeedStatus(FeedState.LIVE, since=1, token=one.leadership.token + 60_000_000)
    await redis.set("ime:status", newer.to_json())
    await one.leadership.renew()
    assert not one.leadership.leads
    await one.lead()
    assert one.leadership.token > newer.token


async def test_new_leader_does_not_go_back_behind_stored_states(
    one: One, other: One, store: Store, redis: Redis
) -> None:
    await one.lead()
    await one.come(1.0, 1.0, at="13:20:10")
    await one.come(2.0, 1.0, at="13:20:20")
    await redis.delete("ime:feed")
    # As a feed does that was started anew, and reads what a proxy has kept.
    other.note(9.0, 1.0, 9.0, at="13:20:15")
    await other.lead()
    await other.come(8.0, 8.0, 8.0, at="13:20:16")
    await other.confirm_all()
    # Nothing had changed of the second one since 13:20:10, or later; nobody knew the third one.
    assert await prices(store) == {"1": 2, "2": 8, "3": 8}
    await other.come(3.0, 3.0, 3.0, at="13:20:21")
    assert await prices(store) == {"1": 3, "2": 3, "3": 3}


async def test_stored_timestamp_moves_while_states_do_not_change(
    one: One, redis: Redis, store: Store
) -> None:
    await one.lead()
    await one.come(1.0, at="13:20:10")
    await one.come(1.0, at="13:20:20")
    await one.confirm_all()
    assert await redis.hget("ime:last:{1}", "pushed") == b"2023-08-01T13:20:20"


# Recovery


async def test_leader_restores_states_that_others_have_replaced(
    one: One, store: Store, redis: Redis, valkey: EmbeddedValkey
) -> None:
    await one.lead()
    await one.come(1.0, 1.0)
    await one.confirm_all()
    async with Publisher(valkey.url) as publisher:
        await publisher.patch("1", Aggregate={"last_price": 5})
    await redis.delete("ime:last:{2}")
    assert await prices(store) == {"1": 5}
    await one.come(1.0, 1.0)  # the market stands still
    with capture_logs() as logs:
        await one.confirm_all()
    assert await prices(store) == {"1": 1, "2": 1}
    [line] = [each for each in logs if "the store held other states" in each["event"]]
    assert line["contracts"] == 1


async def test_leader_restores_contracts_that_others_have_changed(one: One, store: Store) -> None:
    await one.lead()
    await one.come(1.0, 1.0)
    before = await store.contracts()
    await store.remove_contracts(["1"])
    await one.confirm_all()
    assert sorted(await store.contracts(), key=lambda each: each.contract_id) == before


async def test_emptied_store_is_filled_at_once(one: One, store: Store, redis: Redis) -> None:
    await one.lead()
    await one.come(17.0, 1.0)
    await one.come(2.0, 1.0)
    await redis.flushall()
    assert await published(redis, one.lead()) == [("1", 2), ("2", 1)]
    assert len(await store.contracts()) == 2


async def test_reverted_store_gets_the_newest_states(one: One, store: Store, redis: Redis) -> None:
    await one.lead()
    await one.come(1.0)
    older = await redis.dump("ime:last:{1}")
    await one.come(2.0)
    await redis.restore("ime:last:{1}", 0, older, replace=True)
    await one.confirm_all()
    assert await prices(store) == {"1": 2}


async def test_everything_is_published_again_after_a_failover(
    one: One, store: Store, redis: Redis
) -> None:
    await one.lead()
    await one.come(1.0, 1.0)
    await redis.delete("ime:last:{1}", "ime:last:{2}")  # lost with the old master
    await one.leader.write()
    assert await prices(store) == {}
    one.failovers += 1
    assert await published(redis, one.leader.write()) == [("1", 1), ("2", 1)]


async def test_everything_is_confirmed_again_a_little_after_a_failover(
    one: One, redis: Redis
) -> None:
    await one.lead()
    await one.come(1.0, 1.0)

    async def confirmed() -> list[int]:
        return [int(await redis.hget(f"ime:last:{{{n}}}", "seen") or 0) for n in (1, 2)]

    one.failovers += 1
    one.clock.now += SETTLED_AFTER + 1
    await one.leader.write()
    before = await confirmed()
    one.clock.now += SETTLED_AFTER / 2
    await one.leader.write()
    assert await confirmed() == before
    one.clock.now += SETTLED_AFTER / 2 + 0.01
    await one.leader.write()
    after = await confirmed()
    assert all(new > old for new, old in zip(after, before, strict=True))
    # Once at first, and later a share of them at a time.
    one.clock.now += SETTLED_AFTER + 1
    await one.leader.write()
    assert await confirmed() == after


async def test_newest_board_alone_is_published_after_an_outage(own_valkey: EmbeddedValkey) -> None:
    one = One("one", own_valkey.url)
    await one.lead()
    await one.come(17.0)
    own_valkey.stop()
    with capture_logs() as logs:
        for second in range(3):
            await one.come(float(second), at=f"13:20:1{second}")
    assert [each["event"] for each in logs] == ["market data cannot be published"]
    own_valkey.start()
    async with Store(StoreSettings(redis_url=own_valkey.url)) as store:
        await one.lead()
        assert await prices(store) == {"1": 2}
        [version] = (await store.versions(["1"])).values()
        await one.confirm_all()
        assert await store.versions(["1"]) == {"1": version}
    await one.aclose()


async def test_claim_that_failed_is_made_again_before_anything_is_written(
    one: One, store: Store, redis: Redis
) -> None:
    await redis.set("ime:fence:{ime:contracts}", "no hash")
    one.note(1.0)
    with capture_logs() as logs:
        for _ in range(3):
            await one.lead()
    assert await prices(store) == {}
    assert [e["event"] for e in logs].count("market data cannot be published") == 1
    await redis.delete("ime:fence:{ime:contracts}")
    await one.lead()
    assert await prices(store) == {"1": 1}
    token = await redis.hget("ime:fence:{ime:contracts}", "token")
    assert int(token) == one.leadership.token


async def test_standby_writes_nothing(one: One, other: One, redis: Redis) -> None:
    await one.lead()
    await other.leadership.renew()
    other.note(1.0)
    running = asyncio.create_task(other.leader.run())
    other.leader.wake()
    await asyncio.sleep(0)
    keys = set(await redis.keys())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert keys == {b"ime:feed", b"ime:status", b"ime:fence:{ime:contracts}"}


async def test_leader_publishes_noted_frames_by_itself(one: One, store: Store) -> None:
    await one.leadership.renew()
    running = asyncio.create_task(one.leader.run())
    one.note(1.0)
    one.leader.wake()
    async with asyncio.timeout(10):
        while await prices(store) != {"1": 1}:  # noqa: ASYNC110 - another task's work
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# Floods


async def test_refused_states_are_one_line_with_their_number(one: One, redis: Redis) -> None:
    await one.lead()
    await one.come(*range(1, 101))
    await redis.config_set("maxmemory", 1)
    try:
        with capture_logs() as logs:
            for price in range(3):
                await one.come(*[price] * 100)
            one.clock.now += 60
            await one.come(*[9.0] * 100)
    finally:
        await redis.config_set("maxmemory", 0)
    first, second = logs
    assert first["event"] == second["event"] == "state refused"
    assert "maxmemory" in first["error"]
    assert "repeated" not in first
    assert second["repeated"] >= 299
