"""Clients that come and go while updates flow: each gets its own contract's messages only.

A gateway writes to sockets by their numbers, and the system gives the number of a closed one to
the next connection. So connections are reset here and opened anew as fast as that goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ime_live.publisher import Publisher
from tests.stream.conftest import Market
from tests.support.gateways import Gateway, RawClient

Payload = Callable[..., dict[str, Any]]

ROUNDS = 40
CLIENTS = 12


async def test_connecting_and_leaving_clients_get_their_own_contracts_only(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    ids = [contract.contract_id for contract in market.take(6)]
    failures = gateway.metric("write_failures_total")
    stop = asyncio.Event()

    async def trade() -> None:
        count = 0
        while not stop.is_set():
            count += 1
            await publisher.publish_many(
                (i, payload(Aggregate={"trade_count": count})) for i in ids
            )

    async def come_and_go(number: int) -> int:
        """Take a few messages of one contract and leave at once, again and again."""
        messages = 0
        for round_ in range(ROUNDS):
            contract_id = ids[(number + round_) % len(ids)]
            async with await RawClient.stream(
                gateway, gateway.stream("id", [contract_id])
            ) as client:
                for _ in range(1 + round_ % 3):
                    message = await client.message()
                    assert message["ContractId"] == contract_id
                    messages += 1
                if round_ % 2:
                    client.reset()
        return messages

    trading = asyncio.create_task(trade())
    try:
        got = await asyncio.gather(*(come_and_go(number) for number in range(CLIENTS)))
    finally:
        stop.set()
        await trading
    assert min(got) >= ROUNDS
    # A write to a connection that was reset a moment ago may fail; that is all that happens.
    assert gateway.metric("write_failures_total") - failures <= CLIENTS * ROUNDS
    assert not [line for line in gateway.log if line["level"] == "error"]
