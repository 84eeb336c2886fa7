"""Workers: several processes on one port behave like one gateway."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from ime_live.local.embedded import EmbeddedValkey
from ime_live.publisher import Publisher
from tests.stream.conftest import Market, Serve
from tests.support.gateways import Gateway, closed, receive

PATIENCE = 40.0  # seconds for two processes to start, or end, on a busy machine

Payload = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]


def group(pid: int) -> list[int]:
    """The processes of a process group that still run."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if os.getpgid(int(folder.name)) == pid:
                    found.append(int(folder.name))
            except ProcessLookupError:
                continue
    return found


@pytest.fixture(scope="module")
def workers(_serve_all: Serve) -> Gateway:
    """A gateway of two processes; the last test here ends it."""
    return _serve_all(workers=2)


@pytest.mark.thorough
async def test_killed_worker_is_replaced_and_leaves_the_metrics(
    workers: Gateway, market: Market, eventually: Eventually
) -> None:
    gateway = workers
    await eventually(lambda: gateway.metric("workers_ready") == 2, PATIENCE)
    async with AsyncExitStack() as stack:
        for _ in range(10):
            await stack.enter_async_context(gateway.by_id(market.contracts[0].contract_id))
        await eventually(lambda: gateway.metric("connections") == 10, PATIENCE)
        os.kill(_workers(gateway.process.pid)[0], signal.SIGKILL)
        await eventually(lambda: len(gateway.events("contracts loaded")) == 3, PATIENCE)
        await eventually(lambda: gateway.metric("workers_ready") == 2, PATIENCE)
    await eventually(lambda: gateway.metric("connections") == 0, PATIENCE)


def _workers(parent: int) -> list[int]:
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in group(parent)}
    return [pid for pid, command in commands.items() if b"multiprocessing-fork" in command]


async def _processes(gateway: Gateway, before: int, streams: int) -> set[str]:
    """The processes that serve so many streams, which were opened after so many others."""
    opened = (await gateway.logged("stream opened", before + streams))[before:]
    return {line["connection"].partition("-")[0] for line in opened}


async def test_two_workers_serve_one_port_and_end_together(
    workers: Gateway,
    market: Market,
    publisher: Publisher,
    backend: EmbeddedValkey,
    payload: Payload,
    eventually: Eventually,
) -> None:
    contract = market.one()
    gateway = workers
    await eventually(lambda: gateway.metric("workers_ready") == 2, PATIENCE)
    before = gateway.metric("connections_opened_total")
    lines = len(gateway.events("stream opened"))
    async with AsyncExitStack() as stack:
        clients: list[Any] = []
        # The kernel gives connections to whichever worker is there first.
        while len(await _processes(gateway, lines, len(clients))) < 2:
            connecting = gateway.by_id(contract.contract_id)
            clients.append(await stack.enter_async_context(connecting))
            assert len(clients) < 200
        # On a slow machine a stream may be open before its worker listens to Redis.
        channel = f"ime:live:{{{contract.contract_id}}}"
        with redis.from_url(backend.url) as database:
            await eventually(lambda: database.pubsub_numsub(channel)[0][1] == 2, PATIENCE)
        await publisher.publish(contract.contract_id, payload())
        for client in clients:
            await receive(client, PATIENCE)
        # Each worker reports the figures of all; those of others are a second old at most.
        count = len(clients)
        await eventually(lambda: gateway.metric("connections") == count, PATIENCE)
        await eventually(lambda: gateway.metric("deliveries_total") == count, PATIENCE)
        assert gateway.metric("connections_opened_total") - before == count
        gateway.signal(signal.SIGTERM)
        closes = await asyncio.gather(*(closed(client) for client in clients))
        assert {close.code for close in closes} == {1001}
    assert await gateway.ended() == 0
    # Nor do their lines get mixed up in the one log.
    assert not [line for line in gateway.log if line["level"] == "not JSON"]
    # multiprocessing's own helper process ends when it notices that the last of ours has.
    await eventually(lambda: not group(gateway.process.pid), PATIENCE)
    assert not list(gateway.temporary.iterdir())


async def test_workers_do_not_outlive_the_process_that_started_them(
    serve: Serve, eventually: Eventually
) -> None:
    gateway = serve(workers=2)
    await eventually(lambda: gateway.metric("workers_ready") == 2, PATIENCE)
    gateway.signal(signal.SIGKILL)
    assert await gateway.ended() == -signal.SIGKILL
    await eventually(lambda: not group(gateway.process.pid), PATIENCE)
