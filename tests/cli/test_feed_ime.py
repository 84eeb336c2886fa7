"""`feed ime` and `feed record` as processes, against the test hub and a real Valkey."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from ime_live.feeds.recording.recording import read_recording
from ime_live.status import FeedState, FeedStatus
from ime_live.store.lease import Lease
from ime_live.store.store import Store
from tests.cli.feeding import Feeds, price_of, until
from tests.support.boards import board, future, row
from tests.support.paths import CAPTURE
from tests.support.servers import free_port
from tests.support.signalr.hub import Hub
from tests.support.signalr.refusals import Refusal


async def test_feed_publishes_contracts_and_changes_without_configuration(
    hub: Hub, feeds: Feeds, store: Store, lease: Lease
) -> None:
    feed = feeds.start()
    await hub.connected("webSockets")
    hub.push(
        [
            board("updateFutureMarketsInfo", row("future")),
            board("updateMarketsInfo", row("strike")),
            board("updateCDCMarketsInfo", row("certificate")),
            board("updateGavahiMarketsInfo", row("receipt")),
            board("updateSandoqMarketsInfo", row("receipt") | {"ID": "5", "Symbol": "Fund"}),
            board("updateSalafMarketsInfo", row("receipt") | {"ID": "6", "Symbol": "Salaf"}),
        ]
    )
    future_id = str(row("future")["ContractID"])

    async def all_there() -> bool:
        return len(await store.contracts()) == 7 and await price_of(store, future_id) is not None

    await until(all_there, feeds)
    hub.push(future(7))

    async def changed() -> bool:
        return await price_of(store, future_id) == 700_007

    await until(changed, feeds)

    async def live() -> bool:
        status, led = await lease.read()
        # It is written once per second, and may be from between the boards.
        counted = status is not None and all(each.contracts for each in status.markets.values())
        return led and status is not None and status.state is FeedState.LIVE and counted

    await until(live, feeds)
    status, _ = await lease.read()
    assert status is not None
    assert status.source == "webSockets"
    assert status.error is None
    assert {market.contracts for market in status.markets.values()} == {1, 2}

    feed.signal(signal.SIGTERM)
    assert await feed.ended() == 0
    assert len(hub.calls("abort")) == 1
    status, led = await lease.read()
    assert status is not None
    assert (status.state, led) == (FeedState.DOWN, False)


async def test_bad_row_is_logged_with_its_content_and_loses_only_itself(
    hub: Hub, feeds: Feeds, store: Store
) -> None:
    feed = feeds.start()
    await hub.connected("webSockets")
    bad = row("future", ContractID=55, ContractCode="BADBA02", BidPrice1="many")
    hub.push([board("updateFutureMarketsInfo", bad, row("future"))])
    hub.push([board("updateFutureMarketsInfo", bad, row("future", LastTradedPrice=1.0))])

    async def there() -> bool:
        return await price_of(store, "901") == 1

    await until(there, feeds)
    [line] = feed.events("row cannot be read")  # once, although it came twice
    assert line["contract_id"] == "55"
    assert "BidPrice1" in line["reason"]
    assert "BADBA02" in line["row"]


async def test_standby_takes_over_from_a_killed_leader(
    hub: Hub,
    feeds: Feeds,
    store: Store,
    lease: Lease,
    redis: Any,  # noqa: ANN401
) -> None:
    first = feeds.start()
    await hub.connected("webSockets")
    hub.push(future(1))

    async def published() -> bool:
        return await price_of(store, "901") == 700_001

    await until(published, feeds)
    hub_of_standby = Hub()
    async with hub_of_standby:
        second = feeds.start("--base-url", hub_of_standby.base_url)
        await hub_of_standby.connected("webSockets")
        hub_of_standby.push(future(2))

        async def stands_by() -> bool:
            return bool(second.events("another feed leads; standing by"))

        await until(stands_by, feeds)
        assert await price_of(store, "901") == 700_001  # it does not publish
        first.signal(signal.SIGKILL)

        async def taken_over() -> bool:
            return await price_of(store, "901") == 700_002

        await until(taken_over, feeds)  # from earlier boards, without a new one
        status, led = await lease.read()
        assert led
        assert status is not None
        assert f":{second.process.pid}:" in status.feed
    assert hub_of_standby.violations == []


async def test_emptied_store_is_filled_again(
    hub: Hub,
    feeds: Feeds,
    store: Store,
    redis: Any,  # noqa: ANN401
) -> None:
    feeds.start()
    await hub.connected("webSockets")
    hub.push(future(1))

    async def there() -> bool:
        return await price_of(store, "901") == 700_001 and len(await store.contracts()) == 1

    await until(there, feeds)
    await redis.flushall()
    await until(there, feeds)  # no board arrived since


@pytest.mark.thorough
async def test_feed_polls_boards_during_an_outage_of_the_hub(
    hub: Hub, feeds: Feeds, store: Store, lease: Lease
) -> None:
    hub.refuse("negotiate", Refusal.FORBIDDEN)
    hub.boards["Future/LiveMarket"] = [row("future", LastTradedPrice=5.0)]
    feeds.start("--polling-interval", "0.2")

    async def polled() -> bool:
        return await price_of(store, "901") == 5

    await until(polled, feeds)

    async def said() -> bool:
        status, _ = await lease.read()
        return status is not None and status.source == "polling" and status.error is not None

    await until(said, feeds)


async def test_feed_records_its_frames(hub: Hub, feeds: Feeds, tmp_path: Path) -> None:
    file = tmp_path / "frames.ndjson.gz"
    recorder = feeds.start(str(file), command="record")
    await hub.connected("webSockets")
    hub.push(future(1))
    hub.push(future(2))

    async def recorded() -> bool:
        return file.exists() and len(list(read_recording(file))) == 2

    await until(recorded, feeds)
    recorder.signal(signal.SIGTERM)
    assert await recorder.ended() == 0
    frames = [each.frame for each in read_recording(file)]
    assert [json.loads(each)["M"] for each in frames] == [future(1), future(2)]


@pytest.mark.skipif(not CAPTURE.is_dir(), reason=f"no recorded frames at {CAPTURE}")
async def test_recorded_frames_are_published_from_the_hub(
    hub: Hub, feeds: Feeds, store: Store, lease: Lease
) -> None:
    """The values of one row per kind are worked out by hand from the frames."""
    feed = feeds.start()
    await hub.connected("webSockets")
    pushed = 0
    for file in sorted(CAPTURE.glob("*.ndjson")):
        for line in file.read_bytes().splitlines():
            hub.push(line)
            pushed += 1
    assert pushed

    async def all_in() -> bool:
        # The last timestamp of the last frame of 1400-11-18.
        last = await store.last(["203", "1000463", "1000469"])
        return len(last) == 3 and last["203"].payload.aggregate.date == "2022-02-07"

    await until(all_in, feeds)
    contracts = {each.contract_id: each for each in await store.contracts()}
    assert contracts["203"].contract_name == "SAFOR01"
    assert contracts["1000463"].contract_name == "GCOR01C11000"
    assert contracts["1000463"].strike_price == 110_000_000
    assert contracts["6183017539978894"].contract_name == "سكه0012پ01"
    receipt = (await store.last(["6183017539978894"]))["6183017539978894"].payload
    assert receipt.aggregate.previous_close > 0
    untraded = (await store.last(["1000469"]))["1000469"].payload
    assert untraded.aggregate.trade_count == untraded.aggregate.last_price == 0
    assert not feed.events("frame dropped")
    assert not feed.events("row cannot be read")
    status, _ = await lease.read()
    assert isinstance(status, FeedStatus)
    assert status.refused == 0


async def test_contract_with_a_used_name_publishes_nothing(
    hub: Hub, feeds: Feeds, store: Store
) -> None:
    feed = feeds.start()
    await hub.connected("webSockets")
    same = row("future", ContractID=902)  # of one name with the first
    hub.push([board("updateFutureMarketsInfo", row("future"), same)])

    async def there() -> bool:
        return await price_of(store, "901") is not None and bool(
            feed.events("contract cannot be registered")
        )

    await until(there, feeds)
    hub.push(future(7))

    async def changed() -> bool:
        return await price_of(store, "901") == 700_007

    await until(changed, feeds)
    assert await price_of(store, "902") is None
    assert {each.contract_id for each in await store.contracts()} == {"901"}


async def test_feed_answers_on_a_port_of_its_own(hub: Hub, feeds: Feeds) -> None:
    port = free_port()
    feed = feeds.start("--feed-metrics-port", str(port))
    await hub.connected("webSockets")
    hub.push([board("updateFutureMarketsInfo", row("future"))])

    async def counted() -> bool:
        async with httpx.AsyncClient(trust_env=False) as client:
            ready = await client.get(f"http://127.0.0.1:{port}/ready")
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        published = "ime_live_states_published_total 1.0" in text
        return published and "ime_live_leader 1.0" in text and ready.status_code == 200

    await feed.logged("listening")
    await until(counted, feeds)
    feed.signal(signal.SIGHUP)
    [line] = await feed.logged("settings reloaded")
    assert line["changes"] == "none"
