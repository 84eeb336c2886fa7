"""One limit for a contract's market data: at the publisher, in a message and in the store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import ime_live
from ime_live.errors import PayloadError
from ime_live.market_json import MAX_STATE_BYTES
from ime_live.publisher import Publisher
from tests.stream.conftest import Market, Wire
from tests.support.gateways import Gateway, receive

Payload = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]
TOO_LONG = "market data must be at most 65536 bytes of JSON, got"


async def test_publisher_refuses_too_long_states_and_publishes_the_rest(
    publisher: Publisher, market: Market, payload: Payload
) -> None:
    long, short = (contract.contract_id for contract in market.take(2))
    huge = payload(Aggregate={"date": "x" * 5_000_000})
    for form in (huge, json.dumps(huge).encode()):
        with pytest.raises(PayloadError, match=f"{TOO_LONG} 50"):
            await publisher.publish(long, form)
    refused, published = await publisher.publish_many([(long, huge), (short, payload())])
    assert isinstance(refused.error, PayloadError)
    assert published.published
    await publisher.publish(long, payload())
    with pytest.raises(PayloadError, match=TOO_LONG):
        await publisher.patch(long, Aggregate={"date": "x" * 70_000})


async def test_message_of_others_that_is_too_long_ends_no_client(
    gateway: Gateway, market: Market, wire: Wire, payload: Payload, eventually: Eventually
) -> None:
    contract = market.one()
    dropped = gateway.metric("updates_dropped_total", reason="malformed")
    url = f"ws://127.0.0.1:{gateway.port}"
    async with (
        gateway.by_id(contract.contract_id) as raw,
        ime_live.connect(url, [contract.contract_name]) as stream,
    ):
        await wire.send(contract, payload(Aggregate={"date": "x" * 5_000_000}))
        await eventually(
            lambda: gateway.metric("updates_dropped_total", reason="malformed") > dropped, 15
        )
        await wire.send(contract, payload(Aggregate={"trade_count": 5}))
        assert (await receive(raw))["data"]["Aggregate"]["trade_count"] == 5
        async with asyncio.timeout(15):
            update = await anext(aiter(stream))
        assert update.data.aggregate.trade_count == 5
    await eventually(
        lambda: any(
            line["reason"].startswith(TOO_LONG)
            for line in gateway.events("malformed message dropped")
        )
    )


async def test_stored_state_that_is_too_long_is_not_sent(
    gateway: Gateway, market: Market, wire: Wire, payload: Payload
) -> None:
    contract = market.one()
    data = json.dumps(payload(Aggregate={"date": "x" * 5_000_000}))
    key = f"ime:last:{{{contract.contract_id}}}"
    await wire.redis.hset(key, mapping={"version": 5, "data": data, "seen": 5})
    async with gateway.by_id(contract.contract_id, snapshot="true", status="true") as client:
        status = await receive(client)
        assert status["channel"] == "IME Status"
        assert status["data"]["current"] is False
        await wire.send(contract, payload())
        assert (await receive(client))["data"] == payload()


async def test_longest_state_reaches_every_client(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    bare = len(json.dumps(payload(Aggregate={"date": ""}), separators=(",", ":")))
    state = payload(Aggregate={"date": "x" * (MAX_STATE_BYTES - bare)})
    async with (
        gateway.by_id(contract.contract_id) as raw,
        ime_live.connect(f"ws://127.0.0.1:{gateway.port}", [contract.contract_name]) as stream,
    ):
        await publisher.publish(contract.contract_id, state)
        assert (await receive(raw))["data"] == state
        async with asyncio.timeout(15):
            update = await anext(aiter(stream))
        assert len(update.data.aggregate.date) == MAX_STATE_BYTES - bare
    answer = gateway.get(f"/live/data/aggregate/contract/id?contract_ids={contract.contract_id}")
    assert answer.json()["Data"][contract.contract_id] == state["Aggregate"]
