"""The proxy injects network faults, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from chaos.proxy import Mode, Proxy
from tests.support.serving import serving

PATIENCE = 10.0


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """The port of a server that sends everything back."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(100):
                writer.write(data)
        except ConnectionError:
            pass
        writer.close()

    async with serving(serve) as port:
        yield port


@pytest.fixture
async def proxy(echo: int) -> AsyncIterator[Proxy]:
    async with Proxy("proxy", lambda: echo) as made:
        yield made


class Near:
    """A connection to a proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def says(self, text: bytes) -> bytes:
        self.writer.write(text)
        return await self.hears()

    async def hears(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read(100)

    async def is_silent(self) -> bool:
        """Whether nothing comes, and no end either, for a moment."""
        try:
            async with asyncio.timeout(0.1):
                await self.reader.read(100)
        except TimeoutError:
            return True
        return False

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


Connect = Callable[[Proxy], Awaitable[Near]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """A function that connects to a proxy; the connections are closed at the end."""
    made: list[Near] = []

    async def open_(proxy: Proxy) -> Near:
        made.append(Near(*await asyncio.open_connection("127.0.0.1", proxy.port)))
        return made[-1]

    yield open_
    for near in made:
        await near.close()


async def test_proxy_forwards_both_ways_and_the_end(proxy: Proxy, connect: Connect) -> None:
    near = await connect(proxy)
    assert await near.says(b"one") == b"one"
    near.writer.write_eof()
    assert await near.hears() == b""


async def test_stalled_bytes_are_delivered_later(proxy: Proxy, connect: Connect) -> None:
    near = await connect(proxy)
    assert await near.says(b"one") == b"one"
    await proxy.set_mode(Mode.STALL)
    near.writer.write(b"two")
    new = await connect(proxy)
    new.writer.write(b"three")
    assert await near.is_silent()
    await proxy.set_mode(Mode.PASS)
    assert await near.hears() == b"two"
    assert await new.hears() == b"three"


async def test_half_open_link_stays_silent_and_new_links_pass(
    proxy: Proxy, connect: Connect
) -> None:
    near = await connect(proxy)
    assert await near.says(b"one") == b"one"
    proxy.make_half_open()
    near.writer.write(b"two")
    assert await near.is_silent()
    new = await connect(proxy)
    assert await new.says(b"three") == b"three"
    assert await near.is_silent()


async def test_reset_ends_all_links_and_new_links_pass(proxy: Proxy, connect: Connect) -> None:
    near, dead = await connect(proxy), await connect(proxy)
    assert await near.says(b"one") == b"one"
    assert await dead.says(b"one") == b"one"
    proxy.make_half_open()
    proxy.reset()
    for each in (near, dead):
        with pytest.raises(ConnectionResetError):
            await each.hears()
    new = await connect(proxy)
    assert await new.says(b"two") == b"two"


async def test_links_are_refused_until_the_mode_changes(proxy: Proxy, connect: Connect) -> None:
    near = await connect(proxy)
    assert await near.says(b"one") == b"one"
    await proxy.set_mode(Mode.REFUSE)
    with pytest.raises(ConnectionResetError):
        await near.hears()
    with pytest.raises(ConnectionRefusedError):
        await connect(proxy)
    await proxy.set_mode(Mode.PASS)
    new = await connect(proxy)
    assert await new.says(b"two") == b"two"


async def test_proxy_reports_which_server_ended_a_connection(connect: Connect) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    ended: list[int] = []
    async with (
        serving(serve) as port,
        Proxy("balancer", lambda: port, ended=ended.append) as balancer,
    ):
        left = await connect(balancer)
        await left.close()
        near = await connect(balancer)
        assert await near.says(b"bye") == b""
    assert ended == [port]
