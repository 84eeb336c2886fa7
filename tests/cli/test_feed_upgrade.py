"""An upgrade of the feed: leader and standby of this version and of 0.1.0, in both orders."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from itertools import groupby
from typing import Any

import msgspec
import pytest

from ime_live.status import FeedState
from ime_live.store.lease import Lease
from ime_live.store.store import Store
from tests.cli.feeding import Feeds, price_of, until
from tests.support.boards import future
from tests.support.gateways import Command
from tests.support.old_version import OldCommand, need_old_version
from tests.support.signalr.hub import Hub

CHANNEL = "ime:live:{901}"


class Published:
    """The prices on the channel of the contract, in order: even ones of the old feed."""

    def __init__(self, pubsub: Any) -> None:  # noqa: ANN401 - redis-py's commands are loosely typed
        self.versions: list[int] = []
        self.prices: list[int] = []
        self._pubsub = pubsub

    async def watch(self) -> None:
        """Read until cancelled."""
        async for message in self._pubsub.listen():
            if message["type"] == "message":
                update = msgspec.json.decode(message["data"])
                self.versions.append(update["version"])
                self.prices.append(int(update["data"]["Aggregate"]["last_price"]) - 700_000)

    @property
    def leaders(self) -> list[str]:
        """The feeds that have published, one entry per change from one to the other."""
        return [key for key, _ in groupby("new" if n % 2 else "old" for n in self.prices)]


@pytest.fixture
async def published(redis: Any) -> AsyncIterator[Published]:  # noqa: ANN401 - the same
    """The states that the feeds publish."""
    async with redis.pubsub() as pubsub:
        await pubsub.subscribe(CHANNEL)
        found = Published(pubsub)
        watching = asyncio.create_task(found.watch())
        yield found
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def test_feeds_of_both_versions_take_over_from_each_other(
    hub: Hub, feeds: Feeds, store: Store, lease: Lease, published: Published
) -> None:
    need_old_version()
    number = 0

    async def leads(name: str, *hubs: Hub) -> None:
        """Push boards to both feeds until one has published; the other must not have."""
        nonlocal number

        async def it_published() -> bool:
            nonlocal number
            number += 2
            for each in hubs:
                each.push(future(number + (each is hub)))
            price = await price_of(store, "901")
            return price is not None and ("new" if int(price) % 2 else "old") == name

        await until(it_published, feeds)
        before = len(published.prices)
        for _ in range(5):
            await it_published()

        async def more() -> bool:
            return len(published.prices) >= before + 2

        await until(more, feeds)

        async def is_live() -> bool:
            # It is written once per second.
            status, led = await lease.read()
            return led and status is not None and status.state is FeedState.LIVE

        await until(is_live, feeds)

    # The new feed reads from `hub` and publishes odd prices, the old one even ones.
    async with Hub() as other:
        other.negotiation = hub.negotiation

        def start(version: type[Command], of: Hub) -> Command:
            return feeds.start("--base-url", of.base_url, version=version)

        old = start(OldCommand, other)
        await other.connected("webSockets")
        await leads("old", other)
        new = start(Command, hub)
        await hub.connected("webSockets")
        await leads("old", hub, other)

        # An upgrade: the old feed is stopped, the new one takes over.
        old.signal(signal.SIGTERM)
        assert await old.ended() == 0
        await leads("new", hub)

        # A rollback, while the new feed dies.
        start(OldCommand, other)
        await other.connected("webSockets")
        await leads("new", hub, other)
        new.signal(signal.SIGKILL)
        await leads("old", other)
    assert other.violations == []
    assert published.leaders == ["old", "new", "old"]
    assert published.versions == sorted(set(published.versions))
