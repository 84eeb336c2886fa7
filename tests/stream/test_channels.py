"""Channels: subscribed while somebody listens, and no longer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from ime_live.publisher import Publisher
from tests.stream.conftest import Market, Wire
from tests.support.gateways import Gateway, RawClient, closed, receive

Payload = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]


async def _deserted(wire: Wire, *contracts: Any) -> None:  # noqa: ANN401
    for contract in contracts:
        for _ in range(2000):
            if not await wire.audience(contract):
                break
        else:
            raise AssertionError(f"{wire.channel(contract)} is still subscribed")


async def test_first_client_subscribes_and_last_client_unsubscribes(
    gateway: Gateway, market: Market, wire: Wire, publisher: Publisher, payload: Payload
) -> None:
    one, two = market.take(2)
    assert await wire.audience(one) == 0
    async with gateway.by_id(one.contract_id) as first:
        assert await wire.audience(one) == 1
        assert await wire.audience(two) == 0
        async with gateway.by_name(one.contract_name, two.contract_name):
            assert (await wire.audience(one), await wire.audience(two)) == (1, 1)
        await _deserted(wire, two)
        assert await wire.audience(one) == 1
        await publisher.publish(one.contract_id, payload())
        await receive(first)
    await _deserted(wire, one)


async def test_vanished_client_leaves_no_subscription(
    gateway: Gateway, market: Market, wire: Wire
) -> None:
    contract = market.one()
    path = gateway.stream("id", [contract.contract_id])
    for leave in (RawClient.close, RawClient.reset):
        client = await RawClient.stream(gateway, path)
        assert await wire.audience(contract) == 1
        leave(client)
        await _deserted(wire, contract)


async def test_client_vanished_during_its_handshake_leaves_no_subscription(
    gateway: Gateway, market: Market, wire: Wire, eventually: Eventually
) -> None:
    from tests.support.gateways import handshake

    contract = market.one()
    before = gateway.metric("connections")
    for _ in range(20):
        client = await RawClient.open(gateway.port)
        await client.send(handshake(gateway.stream("id", [contract.contract_id])))
        client.reset()
    await eventually(lambda: gateway.metric("connections") == before)
    async with gateway.by_id(contract.contract_id):
        assert await wire.audience(contract) == 1
    await _deserted(wire, contract)


async def test_connecting_and_leaving_clients_leave_no_subscription(
    gateway: Gateway, market: Market, wire: Wire, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    for round_ in range(5):
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(gateway.by_id(contract.contract_id))
                for _ in range(5)
            ]
            data = payload(Aggregate={"trade_count": round_})
            await publisher.publish(contract.contract_id, data)
            for client in clients:
                assert (await receive(client))["data"] == data
    await _deserted(wire, contract)


async def test_refused_client_leaves_no_subscription(
    gateway: Gateway, market: Market, wire: Wire
) -> None:
    contract = market.one()
    async with gateway.by_name(contract.contract_name, "XYZ") as client:
        await closed(client)
    assert await wire.audience(contract) == 0
