"""`feed ime` where things come late: boards, a feed that was started anew, the machine's clock."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from ime_live.status import FeedState, FeedStatus
from ime_live.store.lease import Lease
from ime_live.store.store import Store
from tests.cli.feeding import Feeds, price_of, until
from tests.support.boards import board, row, timestamp
from tests.support.marks import thorough
from tests.support.proxy import Proxy
from tests.support.signalr.hub import Hub
from tests.support.signalr.refusals import Refusal

FUTURES = "updateFutureMarketsInfo"
OPTIONS = "updateMarketsInfo"


def futures(price: float, ago: float = 0.0) -> dict[str, Any]:
    """A board that was pushed some seconds ago."""
    return board(FUTURES, row("future", LastTradedPrice=price, LastUpdate=timestamp(ago)))


async def status_of(lease: Lease) -> FeedStatus:
    status, _ = await lease.read()
    return status or FeedStatus(FeedState.DOWN, since=0)


@pytest.mark.parametrize(
    "transport", ["webSockets", *map(thorough, ("serverSentEvents", "longPolling"))]
)
async def test_feed_on_a_link_slower_than_the_boards_is_stale(
    hub: Hub, feeds: Feeds, store: Store, lease: Lease, transport: str
) -> None:
    hub.negotiation = {"KeepAliveTimeout": 20.0, "DisconnectTimeout": 30.0}
    async with Proxy(hub.port) as proxy:
        feed = feeds.start(
            *("--base-url", hub.base_url.replace(str(hub.port), str(proxy.port))),
            *("--max-lag", "2", "--transports", transport),
        )
        await hub.connected(transport)
        hub.push([futures(1)])

        async def live() -> bool:
            return (await status_of(lease)).state is FeedState.LIVE

        await until(live, feeds)
        proxy.rate = 20_000
        rows = [row("future", ContractID=n, ContractCode=f"X{n}") for n in range(20)]

        async def stale() -> bool:
            at = {"LastUpdate": timestamp()}
            hub.push([board(FUTURES, *(each | at for each in rows))])  # 40 kB
            await asyncio.sleep(0.3)
            return (await status_of(lease)).state is FeedState.STALE

        await until(stale, feeds)
        status = await status_of(lease)
        assert status.lag is not None
        assert status.lag > 2
        assert "s late" in (status.error or "")
        assert await feed.logged("boards are late")

        proxy.rate = 1e9

        async def in_time_again() -> bool:
            hub.push([futures(2)])
            await asyncio.sleep(0.3)
            status = await status_of(lease)
            return status.state is FeedState.LIVE and (status.lag or 0) < 2

        await until(in_time_again, feeds)
        assert await price_of(store, "901") == 2


async def test_restarted_feed_publishes_no_older_states(
    hub: Hub, feeds: Feeds, store: Store
) -> None:
    first = feeds.start()
    await hub.connected("webSockets")
    hub.push([futures(1, ago=20), futures(2, ago=5)])

    async def published(price: float) -> bool:
        return await price_of(store, "901") == price

    await until(lambda: published(2), feeds)
    first.signal(signal.SIGKILL)
    async with Hub() as late:
        second = feeds.start("--base-url", late.base_url, "--transports", "longPolling")
        await late.connected("longPolling")
        late.push([futures(9, ago=90)])

        async def refused() -> bool:
            return bool(second.events("row is older than what was published"))

        versions = await store.versions(["901"])
        late.push([board(OPTIONS, row("strike"))])

        async def leads() -> bool:
            return await price_of(store, "1009001") is not None

        await until(leads, feeds)
        assert await store.versions(["901"]) == versions
        late.push([futures(8, ago=60)])
        await until(refused, feeds)
        late.push([futures(3)])
        await until(lambda: published(3), feeds)
        assert late.violations == []


async def test_polled_and_resent_boards_are_published_in_the_order_of_timestamps(
    hub: Hub, feeds: Feeds, store: Store
) -> None:
    hub.refuse("negotiate", Refusal.FORBIDDEN)
    hub.boards["Future/LiveMarket"] = [row("future", LastTradedPrice=2.0, LastUpdate=timestamp())]
    feed = feeds.start("--polling-interval", "0.2", "--max-reconnect-delay", "1")

    async def polled() -> bool:
        return await price_of(store, "901") == 2

    await until(polled, feeds)
    hub.accept("negotiate")
    await hub.connected("webSockets")
    hub.push([futures(1, ago=60)])  # the SignalR hub resends missed boards

    async def refused() -> bool:
        return bool(feed.events("row is older than what was published"))

    await until(refused, feeds)
    assert await price_of(store, "901") == 2


@pytest.mark.parametrize("hours", [3, thorough(-3)])
async def test_wrong_clock_of_the_machine_is_detected_and_logged_once(
    hub: Hub, feeds: Feeds, store: Store, lease: Lease, hours: int
) -> None:
    hub.ahead = 3_600.0 * hours
    feed = feeds.start()
    await hub.connected("webSockets")
    for price in (1, 2, 3):
        hub.push([futures(price, ago=-hub.ahead)])
        await asyncio.sleep(0.2)

    async def said() -> bool:
        status = await status_of(lease)
        return "this machine's clock is 3 h " in (status.error or "") and status.lag is not None

    await until(said, feeds)
    status = await status_of(lease)
    assert status.state is FeedState.LIVE
    assert status.lag is not None
    assert status.lag < 10
    [line] = feed.events("the clocks differ")
    assert line["level"] == "error"
    # The timestamps are the exchange's: they are neither late nor in the future.
    hub.push([futures(9, ago=60 - hub.ahead)])

    async def refused() -> bool:
        return bool(feed.events("row is older than what was published"))

    await until(refused, feeds)
    assert await price_of(store, "901") == 3
