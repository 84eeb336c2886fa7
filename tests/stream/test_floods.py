"""Floods: one connection that sends without end neither stops the others nor fills the memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import pytest

from tests.stream.conftest import Market, Serve
from tests.stream.test_authentication import token
from tests.support.gateways import PATIENCE, Gateway, RawClient, frame_bytes, handshake
from tests.support.nginx import nginx

Eventually = Callable[..., Awaitable[None]]

TEXT, CONTINUATION, PING, PONG = 0x1, 0x0, 0x9, 0xA
HEALTH: Final = b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n"

FLOODS: Final = {
    "pongs": frame_bytes(PONG),
    "pings": frame_bytes(PING),
    "texts": frame_bytes(TEXT, b"x"),
    "fragments": frame_bytes(CONTINUATION, b"", fin=False),
    "large texts": frame_bytes(TEXT, b"x" * 4096),
}
SIZE: Final = 8_000_000

# The flood took the gateway 16 s, in which nobody else was answered.
DELAY: Final = 2.0


def resident(gateway: Gateway) -> int:
    """Bytes of memory that a gateway's process has."""
    pages = Path(f"/proc/{gateway.process.pid}/statm").read_text().split()[1]
    return int(pages) * 4096


@asynccontextmanager
async def others(gateway: Gateway) -> AsyncIterator[list[float]]:
    """Run a client that repeats a request; yield the seconds in which it was answered."""
    delays: list[float] = []
    loop = asyncio.get_running_loop()

    stop = asyncio.Event()

    async def ask(client: RawClient) -> None:
        while not (stop.is_set() and delays):
            begin = loop.time()
            await client.send(HEALTH)
            await client.read_head()
            await client.read_exactly(15)
            delays.append(loop.time() - begin)
            await asyncio.sleep(0.005)

    async with await RawClient.open(gateway.port) as client, asyncio.TaskGroup() as group:
        group.create_task(ask(client))
        yield delays
        # The present request is answered first, however long that takes.
        stop.set()


def flood_of(kind: str) -> bytes:
    """Eight megabytes of frames."""
    frame = FLOODS[kind]
    first = frame_bytes(TEXT, b"", fin=False) if kind == "fragments" else b""
    return first + frame * (SIZE // len(frame))


async def flooded(port: int, request: bytes, frames: bytes) -> tuple[int, str]:
    """Send a handshake and a flood, and then read; the code and reason of the close frame."""
    async with await RawClient.open(port) as client:
        await client.send(request)
        assert (await client.read_head()).startswith(b"HTTP/1.1 101 ")
        await client.send(frames)
        frame = await client.frame()
        while frame.opcode != 0x8:
            frame = await client.frame()
        client.end()
        await client.read_all()  # raises if the connection is reset
    return frame.close.code, frame.close.reason


@pytest.fixture
def proxy(guarded: Gateway, tmp_path: Path) -> Iterator[int]:
    """The port of an nginx in front of the gateway that asks for tokens."""
    directives = (
        "proxy_http_version 1.1; proxy_set_header Host $host;",
        "proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;",
    )
    with nginx(tmp_path / "nginx", f"127.0.0.1:{guarded.port}", *directives) as port:
        yield port


@pytest.mark.parametrize("kind", FLOODS)
@pytest.mark.parametrize("authorized", [False, True])
async def test_flood_of_frames_ends_with_1008_and_delays_nobody(
    guarded: Gateway, market: Market, kind: str, authorized: bool
) -> None:
    path = guarded.stream("id", [market.one().contract_id])
    fields = [f"Authorization: Bearer {token()}"] if authorized else []
    async with others(guarded) as delays:
        close = await flooded(guarded.port, handshake(path, fields), flood_of(kind))
    assert close == (1008, "too many messages" if authorized else "authentication required")
    assert max(delays) < DELAY


@pytest.mark.parametrize("kind", FLOODS)
async def test_flood_through_nginx_ends_with_1008_and_delays_nobody(
    guarded: Gateway, market: Market, proxy: int, kind: str
) -> None:
    path = guarded.stream("id", [market.one().contract_id])
    async with others(guarded) as delays:
        close = await flooded(proxy, handshake(path), flood_of(kind))
    assert close == (1008, "authentication required")
    assert max(delays) < DELAY


@pytest.mark.parametrize("kind", ["a message too big", "an invalid frame"])
async def test_close_frame_is_seen_behind_a_flood_through_nginx(
    guarded: Gateway, market: Market, proxy: int, kind: str
) -> None:
    path = guarded.stream("id", [market.one().contract_id])
    big = kind == "a message too big"
    frame = frame_bytes(TEXT, b"x" * SIZE) if big else frame_bytes(0x3) + bytes(SIZE)
    request = handshake(path, [f"Authorization: Bearer {token()}"])
    code, _ = await flooded(proxy, request, frame)
    assert code == (1009 if big else 1002)


async def test_flood_on_a_stream_of_events_is_read_slowly(gateway: Gateway, market: Market) -> None:
    path = gateway.stream("id", [market.one().contract_id]).replace("/websocket/", "/sse/")
    async with await RawClient.open(gateway.port) as client, others(gateway) as delays:
        await client.send(f"GET {path} HTTP/1.1\r\nHost: t\r\n\r\n".encode() + bytes(SIZE))
        assert (await client.read_head()).startswith(b"HTTP/1.1 200 ")
    assert max(delays) < DELAY


@pytest.mark.thorough
@pytest.mark.parametrize("reads", [False, True])
async def test_memory_stays_flat_while_requests_are_pipelined(
    serve: Serve, eventually: Eventually, reads: bool
) -> None:
    gateway = serve()
    assert gateway.get("/health").status == 200
    before = resident(gateway)

    async def ask_without_end(client: RawClient) -> None:
        with suppress(OSError):
            while True:
                await client.send(HEALTH * 2_000)

    async def read(client: RawClient) -> None:
        with suppress(OSError, AssertionError):
            while True:
                await client.read_exactly(1_000)

    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        clients = [
            await stack.enter_async_context(await RawClient.open(gateway.port)) for _ in range(8)
        ]
        tasks = [group.create_task(ask_without_end(client)) for client in clients]
        tasks += [group.create_task(read(client)) for client in clients if reads]
        async with others(gateway) as delays:
            await eventually(lambda: len(delays) >= 150, timeout=PATIENCE)
        for task in tasks:
            task.cancel()
    assert max(delays) < DELAY
    # It grew by 40 MB a second.
    assert resident(gateway) - before < 16_000_000


async def test_flood_after_a_refused_request_is_read_slowly(gateway: Gateway) -> None:
    async with others(gateway) as delays, await RawClient.open(gateway.port) as client:
        await client.send(b"nonsense\r\n\r\n" + HEALTH * (SIZE // len(HEALTH)))
        assert (await client.read_all()).count(b"HTTP/1.1 ") == 1
    assert max(delays) < DELAY
