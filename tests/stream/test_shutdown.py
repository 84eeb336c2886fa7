"""Shutdown and drain: readiness fails first, streams are closed evenly, and the status is 0."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from ime_live.publisher import Publisher
from tests.stream.conftest import Market, Serve
from tests.support.gateways import PATIENCE, Gateway, RawClient, closed, receive
from tests.support.marks import thorough

Payload = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]


def reason(gateway: Gateway) -> str | None:
    """Why a gateway is not ready; None if it is."""
    answer = gateway.get("/ready")
    state = answer.json()
    assert answer.status == (200 if state["ready"] else 503)
    found: str | None = state["reason"]
    return found


async def test_shutdown_closes_clients_one_after_the_other(serve: Serve, market: Market) -> None:
    contract = market.one()
    gateway = serve(shutdown_spread=1.0)
    path = gateway.stream("id", [contract.contract_id])
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(gateway.connect(path)) for _ in range(12)]
        # An incomplete request does not delay the shutdown.
        waiting = await stack.enter_async_context(await RawClient.open(gateway.port))
        await waiting.send(b"GET /health HTTP/1.1\r\n")
        gateway.signal(signal.SIGTERM)

        async def last_moment(client: Any) -> tuple[Any, float]:  # noqa: ANN401
            return await closed(client), time.monotonic()

        ends = await asyncio.gather(*map(last_moment, clients))
        assert {(close.code, close.reason) for close, _ in ends} == {(1001, "going away")}
        moments = [moment for _, moment in ends]
        assert moments == sorted(moments)  # streams are closed in the order of their opening
        assert max(moments) - min(moments) > 0.7  # of one second
        assert await gateway.ended() == 0


async def test_readiness_fails_before_streams_are_refused_and_closed(
    serve: Serve,
    market: Market,
    publisher: Publisher,
    payload: Payload,
    eventually: Eventually,
) -> None:
    contract = market.one()
    gateway = serve(shutdown_grace=2.0, shutdown_spread=60.0)
    async with (
        gateway.by_id(contract.contract_id) as first,
        gateway.by_id(contract.contract_id) as second,
    ):
        assert reason(gateway) is None
        gateway.signal(signal.SIGTERM)
        await eventually(lambda: reason(gateway) == "draining", PATIENCE)
        async with gateway.by_id(contract.contract_id) as late:  # in the grace
            assert (await closed(first)).code == 1001
            # From now on there is no new stream, and those that are open go on.
            with pytest.raises(InvalidStatus) as refusal:
                await gateway.by_id(contract.contract_id)
            assert refusal.value.response.status_code == 503
            assert 2 <= int(refusal.value.response.headers["Retry-After"]) <= 10
            events = gateway.get(f"/live/data/sse/contract/id?contract_id={contract.contract_id}")
            assert (events.status, events.body) == (503, b'{"detail":"draining"}')
            assert gateway.metric("connections_refused_total", reason="draining") == 2
            assert gateway.metric("workers", state="draining") == 1
            assert gateway.get("/health").status == 200
            await publisher.publish(contract.contract_id, payload())
            await receive(second)
            await receive(late)
    # The last clients have left, so there is nothing to wait for.
    assert await gateway.ended(timeout=10) == 0
    assert [line["streams"] for line in gateway.events("draining")] == [2]


@pytest.mark.parametrize("workers", [1, thorough(2)])
async def test_drained_gateway_answers_until_it_is_stopped(
    serve: Serve, market: Market, workers: int, eventually: Eventually
) -> None:
    contract = market.one()
    gateway = serve(shutdown_spread=0.2, workers=workers)
    await eventually(lambda: gateway.metric("workers_ready") == workers, PATIENCE)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(gateway.by_id(contract.contract_id)) for _ in range(6)
        ]
        for _ in range(2):  # a second signal changes nothing
            gateway.signal(signal.SIGUSR2)
        assert {(await closed(client)).code for client in clients} == {1001}
    await eventually(lambda: gateway.metric("workers", state="drained") == workers, PATIENCE)
    assert {reason(gateway) for _ in range(2 * workers)} == {"draining"}
    assert gateway.metric("connections") == 0
    assert gateway.get("/live/data/overview/contract/id?contract_id=none").status == 200
    assert gateway.process.poll() is None
    gateway.signal(signal.SIGTERM)
    assert await gateway.ended() == 0
    assert len(gateway.events("draining")) == len(gateway.events("drained")) == workers


async def test_stop_during_a_drain_waits_for_its_end(serve: Serve, market: Market) -> None:
    contract = market.one()
    gateway = serve(shutdown_spread=1.0)
    async with (
        gateway.by_id(contract.contract_id) as first,
        gateway.by_id(contract.contract_id) as second,
    ):
        gateway.signal(signal.SIGUSR2)
        assert (await closed(first)).code == 1001
        gateway.signal(signal.SIGTERM)
        assert (await closed(second)).code == 1001
        assert await gateway.ended() == 0
    assert len(gateway.events("drained")) == 1


async def test_second_interrupt_does_not_wait_for_clients(serve: Serve, market: Market) -> None:
    contract = market.one()
    gateway = serve(shutdown_grace=60.0, shutdown_spread=60.0)
    async with (
        gateway.by_id(contract.contract_id) as first,
        gateway.by_id(contract.contract_id) as second,
    ):
        gateway.signal(signal.SIGINT)
        await closed(first)  # the first interrupt does not wait for load balancers
        gateway.signal(signal.SIGINT)
        assert (await closed(second)).code == 1001
        assert await gateway.ended(timeout=10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_shutdown_without_clients_ends_at_once(serve: Serve, number: signal.Signals) -> None:
    gateway = serve(shutdown_spread=30.0, log_format="text")
    gateway.signal(number)
    assert await gateway.ended(timeout=10) == 0
    assert not list(gateway.temporary.iterdir())
    # As text, where that is asked for: a line for people.
    assert f"port={gateway.port} workers=1 auth=none" in gateway.output
