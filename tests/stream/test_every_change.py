"""A client that keeps up gets every change, also while the gateway compares its states."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ime_live.publisher import Publisher
from tests.stream.conftest import Market
from tests.support.gateways import Gateway, receive

Payload = Callable[..., dict[str, Any]]

BURSTS = 100
BURST = 10


async def test_reconciler_replaces_no_update_that_is_under_way(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    (contract,) = market.take(1)
    contract_id = contract.contract_id
    done = asyncio.Event()

    async def join_again_and_again() -> int:
        """Each client that asks for the status makes the gateway read the contract's state."""
        joins = 0
        while not done.is_set():
            async with gateway.by_id(contract_id, status="true") as client:
                await receive(client)
            joins += 1
        return joins

    async with gateway.by_id(contract_id) as client:
        joining = asyncio.create_task(join_again_and_again())
        counts = iter(range(BURSTS * BURST))
        for _ in range(BURSTS):
            burst = [next(counts) for _ in range(BURST)]
            await publisher.publish_many(
                (contract_id, payload(Aggregate={"trade_count": count})) for count in burst
            )
            got = [await receive(client) for _ in burst]
            assert [message["data"]["Aggregate"]["trade_count"] for message in got] == burst
        done.set()
        assert await joining > 1
