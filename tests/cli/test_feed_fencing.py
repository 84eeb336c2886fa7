"""A feed that was held up, while another one took over, changes nothing any more."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from ime_live.local.embedded import EmbeddedValkey
from ime_live.store.lease import Lease
from ime_live.store.store import Store
from tests.cli.feeding import Feeds, until
from tests.support.boards import board, row, timestamp
from tests.support.gateways import Command
from tests.support.marks import thorough
from tests.support.proxy import Proxy
from tests.support.signalr.hub import Hub

FUTURES = "updateFutureMarketsInfo"
IDS = [str(n) for n in range(1_000, 1_120)]


def market(price: float) -> list[dict[str, Any]]:
    """The board of 120 futures, pushed now, all at one price."""
    rows = [
        row("future", ContractID=int(i), ContractCode=f"X{i}", LastTradedPrice=price)
        | {"LastUpdate": timestamp()}
        for i in IDS
    ]
    return [board(FUTURES, *rows)]


@pytest.fixture
async def proxy(own_valkey: EmbeddedValkey) -> AsyncIterator[Proxy]:
    port = int(own_valkey.url.rpartition(":")[2].partition("/")[0])
    async with Proxy(port) as made:
        yield made
        made.thaw()


@pytest.fixture
def valkey(own_valkey: EmbeddedValkey) -> EmbeddedValkey:
    """A Valkey on TCP, which a proxy needs."""
    return own_valkey


@pytest.fixture
async def hub_of_standby() -> AsyncIterator[Hub]:
    async with Hub() as made:
        yield made
        assert made.violations == []


async def prices(store: Store) -> set[float]:
    """The prices of all contracts; empty while one has no state yet."""
    states = await store.last(IDS)
    if len(states) < len(IDS):
        return set()
    return {each.payload.aggregate.last_price for each in states.values()}


@pytest.mark.parametrize(
    "stopped", [False, thorough(True)], ids=["link stalled", "and process stopped"]
)
async def test_delayed_writes_of_an_old_leader_are_refused(
    hub: Hub,
    hub_of_standby: Hub,
    feeds: Feeds,
    store: Store,
    lease: Lease,
    proxy: Proxy,
    redis: Redis,
    stopped: bool,
) -> None:
    leader = feeds.start("--redis-url", proxy.url)
    await hub.connected("webSockets")
    hub.push(market(1))

    async def published(price: float) -> bool:
        return await prices(store) == {price}

    await until(lambda: published(1), feeds)
    standby = feeds.start("--base-url", hub_of_standby.base_url)
    await hub_of_standby.connected("webSockets")
    hub_of_standby.push(market(1))
    await until(lambda: said(standby, "another feed leads; standing by"), feeds)

    proxy.freeze(b'"last_price":2,')
    hub.push(market(2))  # the proxy holds the leader's writes

    async def in_the_proxy() -> bool:
        return proxy.held > 60_000

    await until(in_the_proxy, feeds)
    if stopped:
        leader.signal(signal.SIGSTOP)
    hub_of_standby.push(market(3))
    await until(lambda: published(3), feeds)

    async with redis.pubsub() as messages:
        await messages.psubscribe("ime:live:*")
        if stopped:
            leader.signal(signal.SIGCONT)
        proxy.thaw()
        for _ in range(10):
            hub_of_standby.push(market(3))  # the market stands still
            await asyncio.sleep(0.1)
        await until(lambda: said(leader, "another feed leads; standing by"), feeds)
        assert await prices(store) == {3}
        while message := await messages.get_message(timeout=0.5):
            if message["type"] == "pmessage":
                state = json.loads(message["data"])["data"]
                assert state["Aggregate"]["last_price"] != 2
    status, led = await lease.read()
    assert led
    assert status is not None
    assert f":{standby.process.pid}:" in status.feed


async def said(feed: Command, event: str) -> bool:
    return bool(feed.events(event))


async def test_sigterm_ends_feed_soon_while_redis_does_not_answer(
    hub: Hub, feeds: Feeds, store: Store, proxy: Proxy
) -> None:
    feed = feeds.start("--redis-url", proxy.url)
    await hub.connected("webSockets")
    hub.push(market(1))

    async def published() -> bool:
        return await prices(store) == {1}

    await until(published, feeds)
    proxy.freeze()
    began = time.monotonic()
    feed.signal(signal.SIGTERM)
    assert await feed.ended() == 0
    # The feed aborts its connection, and gives up the lease within two seconds or not at all.
    assert time.monotonic() - began < 5.0
    assert feed.events("the feed's lease cannot be released in time; it will expire")
    assert len(hub.calls("abort")) == 1
