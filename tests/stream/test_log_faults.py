"""A log that cannot be written changes nothing that a gateway, or a feed, does."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from ime_live.contracts import Contract
from ime_live.local.embedded import EmbeddedValkey
from ime_live.publisher import Publisher
from tests.stream.conftest import Serve, register
from tests.support.gateways import PATIENCE, Command, closed, receive
from tests.support.servers import free_port

Payload = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]

CONTRACTS = [Contract(contract_id=str(n), contract_name=f"SAFOR{n:02}") for n in range(1, 4)]

QUICK = 5.0
"""Seconds, far above what it takes to stop, and below what it took when lines raised."""


def read_line(reader: int) -> str:
    """Read one line, as `head -1` does."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(reader, 1)
    return line.decode()


@pytest.fixture(params=["its reader has gone", "the disk is full"])
def broken_log(request: pytest.FixtureRequest) -> Iterator[tuple[int, Callable[[], None]]]:
    """A log, and what breaks it once a process has begun."""
    if request.param == "the disk is full":
        full = os.open("/dev/full", os.O_WRONLY)
        yield full, lambda: None
        os.close(full)
        return
    reader, writer = os.pipe()

    def leave() -> None:
        read_line(reader)
        os.close(reader)
        os.close(writer)  # the process has its own

    yield writer, leave


async def pid_of(valkey: EmbeddedValkey) -> int:
    async with Redis.from_url(valkey.url) as client:
        return int((await client.info("server"))["process_id"])


async def restart(valkey: EmbeddedValkey) -> None:
    """Kill a Valkey, and start it again, empty."""
    os.kill(await pid_of(valkey), signal.SIGKILL)
    await asyncio.to_thread(valkey.stop)
    await asyncio.to_thread(valkey.start)


async def until_led(valkey: EmbeddedValkey, feed: Command) -> None:
    """Wait until a feed leads; it must not have ended."""
    redis: Any
    async with asyncio.timeout(PATIENCE), Redis.from_url(valkey.url) as redis:
        while not await redis.exists("ime:feed"):
            assert feed.process.poll() is None
            await asyncio.sleep(0.05)


async def test_gateway_serves_clients_with_a_broken_log(
    serve: Serve,
    own_valkey: EmbeddedValkey,
    payload: Payload,
    eventually: Eventually,
    broken_log: tuple[int, Callable[[], None]],
) -> None:
    log, break_it = broken_log
    await register(own_valkey.url, *CONTRACTS)
    gateway = await asyncio.to_thread(serve, own_valkey.url, stderr=log, port=free_port())
    break_it()
    async with gateway.by_id("1") as client, Publisher(own_valkey.url) as publisher:
        for n in range(2):
            await restart(own_valkey)
            await eventually(lambda: gateway.get("/ready").status == 200, timeout=15)
            await publisher.publish("1", payload(Aggregate={"trade_count": n}))
            assert (await receive(client))["data"]["Aggregate"]["trade_count"] == n
        async with gateway.by_id("unknown") as refused:
            assert (await closed(refused)).code == 1008
        assert gateway.metric("log_lines_dropped_total") > 2
        began = time.monotonic()
        gateway.signal(signal.SIGTERM)
        assert (await closed(client)).code == 1001
    assert await gateway.ended() == 0
    assert time.monotonic() - began < QUICK


@pytest.mark.thorough
async def test_blocked_log_does_not_stop_the_gateway(
    serve: Serve, own_valkey: EmbeddedValkey, payload: Payload
) -> None:
    reader, writer = os.pipe()
    try:
        await register(own_valkey.url, *CONTRACTS)
        gateway = await asyncio.to_thread(
            serve, own_valkey.url, stderr=writer, port=free_port(), workers=1
        )
        async with AsyncExitStack() as stack, Publisher(own_valkey.url) as publisher:
            # Two lines each, of some 250 bytes: many times what a pipe holds.
            for _ in range(400):
                async with gateway.by_id("1"):
                    pass
            clients = [await stack.enter_async_context(gateway.by_id("1")) for _ in range(100)]
            await publisher.publish("1", payload())
            for client in clients:
                await receive(client)
            began = time.monotonic()
            gateway.signal(signal.SIGTERM)
            for client in clients:
                assert (await closed(client)).code == 1001
        assert await gateway.ended() == 0
        assert time.monotonic() - began < QUICK
        # The lines that waited in the pipe are whole and in order.
        assert b'"event":"listening"' in os.read(reader, 4096)
    finally:
        os.close(reader)
        os.close(writer)


async def test_broken_log_does_not_end_the_feed(
    own_valkey: EmbeddedValkey,
    tmp_path: Path,
    eventually: Eventually,
    broken_log: tuple[int, Callable[[], None]],
) -> None:
    log, break_it = broken_log
    # There is no hub: the feed says so, and keeps its lease.
    hub = f"http://127.0.0.1:{free_port()}"
    feed = Command(
        tmp_path,
        ["feed", "ime", "--redis-url", own_valkey.url, "--base-url", hub, "--polling-url", hub],
        stderr=log,
        NO_PROXY="*",
    )
    try:
        await until_led(own_valkey, feed)
        break_it()
        for _ in range(2):
            await restart(own_valkey)
            await until_led(own_valkey, feed)
        began = time.monotonic()
        feed.signal(signal.SIGTERM)
        assert await feed.ended() == 0
        assert time.monotonic() - began < QUICK
    finally:
        feed.end()
