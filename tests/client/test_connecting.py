"""`connect`: every way to enter a stream."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from tests.support.stream_messages import timestamp, update
from tests.support.stream_service import PATIENCE, connect, sending, service, take

Eventually = Callable[..., Awaitable[None]]


async def test_connect_is_awaited() -> None:
    async with service(sending(update("A", 1))) as made:
        stream = await connect(made.url)
        assert (await take(stream)).timestamp_text == timestamp(1)
        await stream.aclose()
        async with await connect(made.url) as stream:
            assert (await take(stream)).timestamp_text == timestamp(1)
        assert stream._receiver.ended


async def test_connect_is_read_by_async_for() -> None:
    async with service(sending(update("A", 1), update("A", 2))) as made:
        got = []
        async with asyncio.timeout(PATIENCE):
            async for message in connect(made.url, queue="block"):
                got.append(message.timestamp_text)
                if len(got) == 2:
                    break
        assert got == [timestamp(1), timestamp(2)]


async def test_connect_is_read_by_for(eventually: Eventually) -> None:
    threads = threading.active_count()

    def read(url: str) -> str:
        for message in connect(url):
            return str(message.timestamp_text)
        raise AssertionError

    async with service(sending(update("A", 1))) as made:
        assert await asyncio.to_thread(read, made.url) == timestamp(1)
        # Leaving the loop closes the stream.
        await eventually(lambda: threading.active_count() <= threads + 1)


def test_connect_without_await_or_with_names_the_remedy() -> None:
    made = connect("ws://127.0.0.1:1")
    for name in ("receive", "add", "status"):
        with pytest.raises(AttributeError, match=f"no attribute '{name}'.*async with"):
            getattr(made, name)
    with pytest.raises(AttributeError, match=r"no attribute 'nonsense'$"):
        made.nonsense  # noqa: B018 - it raises
