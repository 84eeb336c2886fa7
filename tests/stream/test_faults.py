"""Faults of the link to Redis, and of Redis itself: clients stay, or are told why not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from ime_live.contracts import Contract
from ime_live.local.embedded import EmbeddedValkey
from ime_live.publisher import Publisher
from tests.stream.conftest import Serve, register
from tests.support.gateways import PATIENCE, Gateway, closed, receive
from tests.support.proxy import Proxy

Payload = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]

CONTRACTS = [Contract(contract_id=str(n), contract_name=f"SAFOR{n:02}") for n in range(1, 4)]


@asynccontextmanager
async def behind_proxy(
    serve: Serve,
    valkey: EmbeddedValkey,
    **settings: Any,  # noqa: ANN401
) -> AsyncIterator[tuple[Proxy, Gateway]]:
    """A gateway whose every connection to Redis goes through a proxy."""
    await register(valkey.url, *CONTRACTS)
    async with Proxy(int(valkey.url.rpartition(":")[2])) as proxy:
        yield proxy, await asyncio.to_thread(serve, proxy.url, **settings)


async def ready(gateway: Gateway) -> tuple[int, dict[str, Any]]:
    """Return the answer of `/ready`."""
    answer = await asyncio.to_thread(gateway.get, "/ready")
    return answer.status, answer.json()


async def until_ready(gateway: Gateway, *, is_ready: bool = True) -> dict[str, Any]:
    """Wait until it is ready, or not any more; return its answer."""
    async with asyncio.timeout(PATIENCE):
        while True:
            status, facts = await ready(gateway)
            if (status == 200) is is_ready:
                return facts
            await asyncio.sleep(0.02)


async def test_resets_of_all_links_disconnect_nobody(
    serve: Serve, own_valkey: EmbeddedValkey, payload: Payload
) -> None:
    async with behind_proxy(serve, own_valkey) as (proxy, gateway):
        async with (
            gateway.by_id("1", snapshot="true", status="true") as client,
            Publisher(own_valkey.url) as publisher,
        ):
            for n in range(4):
                await until_ready(gateway)
                await proxy.reset()
                await publisher.publish("1", payload(Aggregate={"trade_count": n}))
                while True:
                    message = await receive(client)
                    if "ContractId" in message:  # and not a status
                        assert message["data"]["Aggregate"]["trade_count"] == n
                        break
            await until_ready(gateway)
        assert gateway.process.poll() is None
        assert not gateway.events("background task failed; restarting it")


@pytest.mark.thorough
async def test_half_open_link_is_noticed_within_seven_seconds(
    serve: Serve, own_valkey: EmbeddedValkey, payload: Payload
) -> None:
    async with (
        behind_proxy(serve, own_valkey) as (proxy, gateway),
        gateway.by_id("1") as client,
        Publisher(own_valkey.url) as publisher,
    ):
        proxy.half_open(for_new=True)
        began = time.monotonic()
        facts = await until_ready(gateway, is_ready=False)
        # 7 s are promised, of which the defaults take 6.5; the other second is this machine's,
        # for the look at the gateway and the turns of two busy loops.
        assert time.monotonic() - began < 8
        assert facts["reason"] == "Redis cannot be reached"
        await publisher.publish("1", payload())
        proxy.heal()
        await until_ready(gateway)
        assert (await receive(client))["data"]["Aggregate"]["trade_count"] == 12


@pytest.fixture
def guarded_valkey(own_valkey: EmbeddedValkey) -> tuple[EmbeddedValkey, str]:
    """A Valkey, and the URL of a user of it who may do all but subscribe."""
    place = own_valkey.url.removeprefix("redis://")
    asyncio.run(set_user(own_valkey, "on", ">pw", "+@all", "~*", "resetchannels"))
    return own_valkey, f"redis://gateway:pw@{place}"


async def set_user(valkey: EmbeddedValkey, *rules: str) -> None:
    redis: Any
    async with Redis.from_url(valkey.url) as redis:
        await redis.execute_command("ACL", "SETUSER", "gateway", *rules)


@pytest.mark.parametrize("allowed", [(), ("&ime:contracts",)], ids=["no channel", "one channel"])
async def test_streams_are_refused_while_redis_refuses_to_subscribe(
    serve: Serve,
    guarded_valkey: tuple[EmbeddedValkey, str],
    payload: Payload,
    allowed: tuple[str, ...],
) -> None:
    valkey, url = guarded_valkey
    await register(valkey.url, *CONTRACTS)
    await set_user(valkey, *allowed)
    gateway = serve(url, ready=False).when_listening()
    async with asyncio.timeout(PATIENCE):
        while not gateway.events("contracts loaded"):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)
    for _ in range(2):
        async with gateway.by_id("1") as client:
            close = await closed(client)
        assert (close.code, close.reason) == (1013, "market data cannot be streamed now")
    events = await asyncio.to_thread(gateway.get, "/live/data/sse/contract/id?contract_id=1")
    assert (events.status, events.json()) == (503, {"detail": close.reason})
    facts = await until_ready(gateway, is_ready=False)
    assert (facts["ready"], facts["redis"]) == (False, False)
    assert facts["reason"] == "Redis refuses to subscribe: NOPERM"

    await set_user(valkey, "&ime:*")
    facts = await until_ready(gateway)
    assert facts["reason"] is None
    async with gateway.by_id("1") as client, Publisher(valkey.url) as publisher:
        await publisher.publish("1", payload())
        await receive(client)


async def test_clients_stay_when_their_channels_are_forbidden(
    serve: Serve, guarded_valkey: tuple[EmbeddedValkey, str], payload: Payload
) -> None:
    valkey, url = guarded_valkey
    await register(valkey.url, *CONTRACTS)
    await set_user(valkey, "&ime:*")
    gateway = await asyncio.to_thread(serve, url)
    async with gateway.by_id("1") as client, Publisher(valkey.url) as publisher:
        await set_user(valkey, "resetchannels")
        async with asyncio.timeout(PATIENCE):
            while not gateway.events("Redis refuses to subscribe"):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)
        await client.send('{"action": "subscribe", "contract_ids": ["2"], "id": 7}')
        answer = await receive(client)
        assert answer["data"]["errors"][0]["error"] == "market data cannot be streamed now"
        assert answer["data"]["contract_ids"] == ["1"]
        await publisher.publish("1", payload())
        await set_user(valkey, "&ime:*")
        assert (await receive(client))["ContractId"] == "1"


async def test_contract_whose_channel_is_refused_affects_no_other(
    serve: Serve, guarded_valkey: tuple[EmbeddedValkey, str], payload: Payload
) -> None:
    valkey, url = guarded_valkey
    await register(valkey.url, *CONTRACTS)
    await set_user(valkey, "&ime:contracts", "&ime:revoked", "&ime:live:{1}", "&ime:live:{2}")
    gateway = await asyncio.to_thread(serve, url)
    async with gateway.by_id("1") as client, Publisher(valkey.url) as publisher:
        async with gateway.by_id("3") as refused:
            close = await closed(refused)
        assert (close.code, close.reason) == (1013, "market data cannot be streamed now")
        await client.send('{"action": "subscribe", "contract_ids": ["3"], "id": 7}')
        answer = await receive(client)
        assert answer["data"]["errors"][0]["error"] == "market data cannot be streamed now"
        assert (await until_ready(gateway))["reason"] is None
        # Beside others it is read from the store, as if its messages were lost.
        async with gateway.by_id("2", "3") as both:
            await publisher.publish("2", payload())
            assert (await receive(both))["ContractId"] == "2"
            await publisher.publish("3", payload())
            assert (await receive(both, timeout=PATIENCE))["ContractId"] == "3"
        await publisher.publish("1", payload())
        assert (await receive(client))["ContractId"] == "1"
    [line] = gateway.events("Redis refuses the channel of a contract; others are not affected")
    assert line["contract_id"] == "3"
