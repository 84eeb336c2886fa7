"""Changes: what is sent, and what is not because nothing changed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ime_live.local.embedded import EmbeddedValkey
from ime_live.publisher import Publisher
from tests.stream.conftest import Market, Serve, Wire
from tests.support.gateways import Gateway, receive

Payload = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]


def _now() -> int:
    return time.time_ns() // 1000


def _trades(message: dict[str, Any]) -> int:
    count: int = message["data"]["Aggregate"]["trade_count"]
    return count


async def test_equal_republication_by_any_publisher_sends_nothing(
    gateway: Gateway,
    market: Market,
    backend: EmbeddedValkey,
    publisher: Publisher,
    wire: Wire,
    payload: Payload,
) -> None:
    contract = market.one()
    data = payload()
    other_order = json.loads(json.dumps(data, sort_keys=True))
    as_float = payload(Aggregate={"trade_count": 12.0})
    async with gateway.by_id(contract.contract_id) as client, Publisher(backend.url) as other:
        assert (await publisher.publish(contract.contract_id, data)).published
        assert _trades(await receive(client)) == 12
        assert not (await publisher.publish(contract.contract_id, data)).published
        assert not (await other.publish(contract.contract_id, other_order)).published
        await wire.send(contract, data)
        await wire.send(contract, data, version=_now())
        await wire.send(contract, other_order)
        await wire.send(contract, as_float)
        await wire.send(contract, as_float, version=_now())
        # A change is the mark: what was sent before it would have come before it.
        await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": 13}))
        assert _trades(await receive(client)) == 13


async def test_older_version_is_ignored(
    gateway: Gateway, market: Market, wire: Wire, payload: Payload
) -> None:
    contract = market.one()
    now = _now()
    async with gateway.by_id(contract.contract_id, snapshot="true") as client:
        for count, version in ((1, now), (2, now - 1), (3, now), (4, now + 1)):
            await wire.send(contract, payload(Aggregate={"trade_count": count}), version)
        assert [_trades(await receive(client)) for _ in range(2)] == [1, 4]
        # A later client does not get it either.
        async with gateway.by_id(contract.contract_id, snapshot="true") as later:
            assert _trades(await receive(later)) == 4


async def test_timestamps_strictly_grow_with_any_mix_of_publishers(
    gateway: Gateway, market: Market, publisher: Publisher, wire: Wire, payload: Payload
) -> None:
    contract = market.one()
    async with gateway.by_id(contract.contract_id) as client:
        for count in range(0, 40, 2):
            await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": count}))
            await wire.send(contract, payload(Aggregate={"trade_count": count + 1}))
        messages = [await receive(client)]
        # A state of the one may be stamped after the other's next: then it was overtaken.
        while _trades(messages[-1]) < 38:
            messages.append(await receive(client))
    timestamps = [message["timestamp"] for message in messages]
    assert timestamps == sorted(set(timestamps))


async def test_client_without_snapshot_waits_for_the_next_change(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": 1}))
    async with gateway.by_id(contract.contract_id) as client:
        await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": 1}))
        await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": 2}))
        assert _trades(await receive(client)) == 2


@pytest.mark.parametrize("known", [True, False])
async def test_very_next_change_after_connecting_is_received(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload, known: bool
) -> None:
    first, *others = market.take(50)
    for round_, contract in enumerate([first] * 50 if known else [first, *others]):
        async with gateway.by_name(contract.contract_name) as client:
            data = payload(Aggregate={"trade_count": 5000 + round_})
            await publisher.publish(contract.contract_id, data)
            assert _trades(await receive(client)) == 5000 + round_


async def test_malformed_publication_reaches_no_client(
    gateway: Gateway, market: Market, wire: Wire, payload: Payload, eventually: Eventually
) -> None:
    contract = market.one()
    dropped = gateway.metric("updates_dropped_total", reason="malformed")
    partial = payload()
    del partial["ContractInfo"]
    bad: list[bytes] = [
        b"",
        b"not JSON",
        b"[1]",
        b'{"data":' + b"[" * 100_000,
        b"\xff\xfe",
        json.dumps({"data": partial}).encode(),
        json.dumps({"data": payload(Aggregate={"last_price": "5"})}).encode(),
        json.dumps({"data": payload(), "version": -1}).encode(),
        json.dumps({"data": payload(), "version": 10**19}).encode(),
        json.dumps({"data": payload(), "version": "x"}).encode(),
    ]
    async with gateway.by_id(contract.contract_id) as client:
        for message in bad:
            await wire.send_raw(contract, message)
        await wire.send(contract, payload(Aggregate={"trade_count": 99}))
        assert _trades(await receive(client)) == 99
    assert gateway.metric("updates_dropped_total", reason="malformed") == dropped + len(bad)
    # One line per minute and reason for all contracts: an earlier test may have caused it.
    expected = {
        "Input data was truncated",
        "Expected `object`, got `array`",
        "Object missing required field `ContractInfo` - at `$.data`",
        "Expected `int | float`, got `str` - at `$.data.Aggregate.last_price`",
        "Expected `int | null`, got `str` - at `$.version`",
    }
    await eventually(
        lambda: (
            expected <= {line["reason"] for line in gateway.events("malformed message dropped")}
        ),
        timeout=15,
    )


async def test_equal_numbers_are_sent_once_over_a_resume_at_another_gateway(
    gateway: Gateway, serve: Serve, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    other = await asyncio.to_thread(serve)
    async with gateway.by_id(contract.contract_id) as client:
        await publisher.publish(contract.contract_id, payload(Aggregate={"last_price": 10**16}))
        first = await receive(client)
        for value in (1e16, 10**16):
            data = payload(Aggregate={"last_price": value})
            assert not (await publisher.publish(contract.contract_id, data)).published
        async with other.by_id(contract.contract_id, since=first["timestamp"]) as resumed:
            await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": 99}))
            for each in (client, resumed):
                assert _trades(await receive(each)) == 99
