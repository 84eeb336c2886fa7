"""Outages of Valkey: clients stay, and end with the newest state of every contract."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis

from ime_live.contracts import Contract
from ime_live.local.embedded import EmbeddedValkey
from ime_live.publisher import Publisher
from tests.stream.conftest import Serve, register
from tests.support.gateways import Gateway, closed, receive
from tests.support.proxy import Proxy

Payload = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]

CONTRACTS = [Contract(contract_id=str(n), contract_name=f"SAFOR{n:02}") for n in range(1, 5)]
IDS = [contract.contract_id for contract in CONTRACTS]


def _port(valkey: EmbeddedValkey) -> int:
    return int(valkey.url.rpartition(":")[2])


async def _pid(valkey: EmbeddedValkey) -> int:
    async with Redis.from_url(valkey.url) as client:
        return int((await client.info("server"))["process_id"])


def _is_ready(gateway: Gateway) -> bool:
    return gateway.get("/ready").status == 200


def _trades(message: dict[str, Any]) -> tuple[str, int]:
    return message["ContractId"], message["data"]["Aggregate"]["trade_count"]


async def test_publications_during_an_outage_arrive_after_the_reconnect(
    serve: Serve, own_valkey: EmbeddedValkey, payload: Payload, eventually: Eventually
) -> None:
    async with (
        Proxy(_port(own_valkey)) as proxy,
        Publisher(own_valkey.url) as publisher,
    ):

        async def publish(contract_id: str, count: int) -> None:
            data = payload(Aggregate={"trade_count": count})
            await publisher.publish(contract_id, data)

        await register(own_valkey.url, *CONTRACTS)
        gateway = await asyncio.to_thread(serve, proxy.url)
        async with gateway.by_id(*IDS) as client:
            for contract_id in IDS[:3]:
                await publish(contract_id, 1)
                assert _trades(await receive(client)) == (contract_id, 1)
            for round_ in range(2):  # an outage leaves nothing behind that hampers the next
                await proxy.cut()
                await eventually(lambda: not _is_ready(gateway))
                assert gateway.get("/ready").status == 503
                assert gateway.get("/ready").json()["redis"] is False
                assert gateway.get("/health").status == 200
                await publish(IDS[0], 10 + round_)
                await publish(IDS[0], 20 + round_)
                await publish(IDS[3], 20 + round_)  # a contract that had no state before
                async with gateway.by_id(*IDS) as newcomer:
                    await publish(IDS[1], 20 + round_)
                    await publish(IDS[2], 30 + round_)
                    await publish(IDS[2], 1)  # back where it was: no change
                    await proxy.mend()
                    got = [_trades(await receive(client)) for _ in range(3)]
                    assert sorted(got) == [(i, 20 + round_) for i in (IDS[0], IDS[1], IDS[3])]
                    # It connected before this one. The gateway has not seen publications of the
                    # outage before that, so it may get them too.
                    late = [_trades(await receive(newcomer)) for _ in range(3)]
                    assert (IDS[1], 20 + round_) in late
                    await eventually(lambda: _is_ready(gateway))
                    # The mark: nothing else came before it.
                    await publish(IDS[2], 40 + round_)
                    assert _trades(await receive(client)) == (IDS[2], 40 + round_)
                    await publish(IDS[2], 1)
                    assert _trades(await receive(client)) == (IDS[2], 1)


async def test_stream_continues_when_valkey_is_killed_and_restarted_empty(
    serve: Serve, own_valkey: EmbeddedValkey, payload: Payload, eventually: Eventually
) -> None:
    await register(own_valkey.url, *CONTRACTS)
    gateway = serve(own_valkey.url, contracts_interval=0.3)
    async with gateway.by_id(*IDS) as client, Publisher(own_valkey.url) as publisher:
        await publisher.publish(IDS[0], payload())
        before = await receive(client)
        os.kill(await _pid(own_valkey), signal.SIGKILL)
        await eventually(lambda: not _is_ready(gateway))
        own_valkey.stop()
        own_valkey.start()
        # It comes back without contracts and states; the gateway keeps the contracts it knows.
        await eventually(lambda: _is_ready(gateway))
        assert gateway.get("/ready").json()["contracts"] == len(CONTRACTS)
        await publisher.publish(IDS[0], payload(Aggregate={"trade_count": 2}))
        after = await receive(client)
        assert _trades(after) == (IDS[0], 2)
        assert after["timestamp"] > before["timestamp"]
        async with gateway.by_name(CONTRACTS[1].contract_name) as newcomer:
            await publisher.publish(IDS[1], payload())
            assert (await receive(newcomer))["contractName"] == CONTRACTS[1].contract_name


async def test_emptied_registry_does_not_replace_known_contracts(
    serve: Serve, own_valkey: EmbeddedValkey, payload: Payload, eventually: Eventually
) -> None:
    await register(own_valkey.url, *CONTRACTS)
    gateway = serve(own_valkey.url, contracts_interval=0.2)
    async with Redis.from_url(own_valkey.url) as redis, Publisher(own_valkey.url) as publisher:
        await redis.flushall()
        await eventually(
            lambda: gateway.events("the store has no contracts; keeping the known contracts")
        )
        async with gateway.by_name(CONTRACTS[0].contract_name) as client:
            await publisher.publish(IDS[0], payload())
            await receive(client)


async def test_gateway_may_start_before_valkey(
    serve: Serve, own_valkey: EmbeddedValkey, payload: Payload, eventually: Eventually
) -> None:
    own_valkey.stop()
    gateway = serve(own_valkey.url, ready=False).when_listening()
    await eventually(lambda: gateway.process.poll() is None and _answers(gateway), timeout=20)
    assert gateway.get("/health").status == 200
    assert gateway.get("/ready").status == 503
    report = gateway.get("/live/status")
    assert report.status == 503
    assert report.json() == {"detail": "contracts are not loaded yet"}
    async with gateway.by_id(IDS[0]) as client:
        close = await closed(client)
    # Not 1008: the same request is good in a moment.
    assert (close.code, close.reason) == (1013, "contracts are not loaded yet")
    own_valkey.start()
    await register(own_valkey.url, *CONTRACTS)
    await eventually(lambda: gateway.get("/ready").json()["contracts"] == len(CONTRACTS))
    await eventually(lambda: _is_ready(gateway))
    async with gateway.by_id(IDS[0]) as client, Publisher(own_valkey.url) as publisher:
        await publisher.publish(IDS[0], payload())
        await receive(client)


def _answers(gateway: Gateway) -> bool:
    try:
        return gateway.get("/health").status == 200
    except OSError:
        return False


async def test_hanging_valkey_loses_no_update(
    serve: Serve, own_valkey: EmbeddedValkey, payload: Payload
) -> None:
    await register(own_valkey.url, *CONTRACTS)
    gateway = serve(own_valkey.url)
    pid = await _pid(own_valkey)
    async with gateway.by_id(*IDS[:2]) as client, Publisher(own_valkey.url) as publisher:
        await publisher.publish(IDS[0], payload())
        await receive(client)
        os.kill(pid, signal.SIGSTOP)
        try:
            # A contract that is subscribed already, and one that cannot be now.
            async with gateway.by_id(IDS[0]):
                pass
            newcomer = await gateway.by_id(*IDS)
        finally:
            os.kill(pid, signal.SIGCONT)
        async with newcomer:
            await publisher.publish(IDS[1], payload())
            for each in (client, newcomer):
                assert _trades(await receive(each)) == (IDS[1], 12)
