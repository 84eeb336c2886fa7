"""Shutdown: on SIGTERM and SIGINT, in good order and with status 0."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from ime_live.publisher import Publisher
from tests.stream.conftest import Market, Serve
from tests.stream.harness import RawClient, closed, receive

Payload = Callable[..., dict[str, Any]]


async def test_shutdown_closes_clients_one_after_the_other(
    serve: Serve, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    gateway = serve(shutdown_spread=1.0)
    path = gateway.stream("id", [contract.contract_id])
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(gateway.connect(path)) for _ in range(12)]
        # A request that is not whole holds nobody up.
        waiting = await stack.enter_async_context(await RawClient.open(gateway.port))
        await waiting.send(b"GET /health HTTP/1.1\r\n")
        gateway.signal(signal.SIGTERM)

        async def last_moment(client: Any) -> tuple[Any, float]:  # noqa: ANN401
            return await closed(client), time.monotonic()

        ends = await asyncio.gather(*map(last_moment, clients))
        assert {(close.code, close.reason) for close, _ in ends} == {(1001, "going away")}
        moments = [moment for _, moment in ends]
        assert max(moments) - min(moments) > 0.2  # of one second
        with pytest.raises(OSError, match=r".+"):
            await RawClient.open(gateway.port)
        assert await gateway.ended() == 0


async def test_shutdown_serves_clients_until_they_are_closed(
    serve: Serve, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    gateway = serve(shutdown_spread=30.0)
    async with gateway.by_id(contract.contract_id) as client:
        gateway.signal(signal.SIGTERM)
        while True:
            try:
                async with await RawClient.open(gateway.port):
                    await asyncio.sleep(0.01)
            except OSError:
                break
        await publisher.publish(contract.contract_id, payload())
        await receive(client)
    # The last client has left, so there is nothing to wait for.
    assert await gateway.ended(timeout=10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_shutdown_without_clients_ends_at_once(serve: Serve, number: signal.Signals) -> None:
    gateway = serve(shutdown_spread=30.0, log_format="text")
    gateway.signal(number)
    assert await gateway.ended(timeout=10) == 0
    assert not list(gateway.temporary.iterdir())
    # As text, where that is asked for: a line for people.
    assert f"port={gateway.port} workers=1 auth=none" in gateway.output
