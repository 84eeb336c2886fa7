"""Slow clients: they miss what was replaced meanwhile, nobody waits for them, nothing piles up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from ime_live.publisher import Publisher
from tests.stream.conftest import Market
from tests.support.gateways import Gateway, RawClient, receive

Payload = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]

SMALL = 4096  # bytes of a receive buffer


def _resident(gateway: Gateway) -> int:
    """Bytes of memory that a process has."""
    for line in Path(f"/proc/{gateway.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


async def test_conflation_gives_a_slow_client_the_newest_state_without_delaying_others(
    gateway: Gateway,
    market: Market,
    publisher: Publisher,
    payload: Payload,
) -> None:
    ids = [contract.contract_id for contract in market.take(5)]
    path = gateway.stream("id", ids)
    rounds = 260  # of 4 updates of each contract: 5,200
    conflated = gateway.metric("conflated_total")
    async with AsyncExitStack() as stack:
        slow = [
            await stack.enter_async_context(
                await RawClient.stream(gateway, path, receive_buffer=SMALL)
            )
            for _ in range(20)
        ]
        fast = await stack.enter_async_context(gateway.by_id(*ids))
        memory = _resident(gateway)
        for round_ in range(rounds):
            counts = [4 * round_ + n for n in range(4)]
            await publisher.publish_many(
                (i, payload(Aggregate={"trade_count": count})) for count in counts for i in ids
            )
            # A burst arrives whole, at a client that keeps up.
            got = [await receive(fast) for _ in range(4 * len(ids))]
            assert [(m["ContractId"], m["data"]["Aggregate"]["trade_count"]) for m in got] == [
                (i, count) for count in counts for i in ids
            ]
        # 20 clients that miss 4 MB each: what they miss is in no queue.
        assert _resident(gateway) - memory < 40_000_000
        assert gateway.metric("conflated_total") - conflated > rounds * 4 * len(slow)
        for client in slow[:3]:
            await _check_catching_up(client, ids, rounds * 4 - 1)
        # Now they keep up like other clients.
        await publisher.publish(ids[0], payload(Aggregate={"trade_count": 10**6}))
        for client in slow[:3]:
            assert (await client.message())["data"]["Aggregate"]["trade_count"] == 10**6


async def _check_catching_up(client: RawClient, ids: list[str], newest: int) -> None:
    timestamps = dict.fromkeys(ids, "")
    counts = dict.fromkeys(ids, -1)
    messages = 0
    while set(counts.values()) != {newest}:
        message = await client.message()
        contract_id = message["ContractId"]
        assert message["timestamp"] > timestamps[contract_id]
        timestamps[contract_id] = message["timestamp"]
        counts[contract_id] = message["data"]["Aggregate"]["trade_count"]
        messages += 1
    # Some were in the buffers of the kernel when it stopped to read; far from all.
    assert messages < 1000


async def test_slow_client_is_closed_after_its_timeout(
    hasty: Gateway,
    market: Market,
    publisher: Publisher,
    payload: Payload,
    eventually: Eventually,
) -> None:
    ids = [contract.contract_id for contract in market.take(300)]
    too_slow = hasty.metric("connections_closed_total", reason="too slow")
    async with await RawClient.stream(
        hasty, hasty.stream("id", ids), receive_buffer=SMALL
    ) as client:
        await publisher.publish_many((i, payload()) for i in ids)
        await eventually(
            lambda: hasty.metric("connections_closed_total", reason="too slow") > too_slow
        )
        # A client that reads again soon enough gets the close reason.
        frame = await client.frame()
        while frame.opcode != 0x8:
            frame = await client.frame()
        assert frame.close.code == 1013
        assert frame.close.reason == "too slow: took no data for 0.8 s"
