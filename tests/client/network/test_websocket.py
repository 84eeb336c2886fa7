"""The WebSocket library on real sockets: how its connections end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from tests.client.service import connect

Eventually = Callable[..., Awaitable[None]]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 2", b"hello\r\n\r\n"])
@pytest.mark.parametrize("reset", [False, True])
async def test_proxy_that_closes_without_an_answer_is_one_line_of_the_log(
    answer: bytes, reset: bool, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    asked = 0

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        # What was not read makes the kernel reset the connection.
        await (reader.readexactly(1) if reset else reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    caplog.set_level(logging.INFO)
    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connect("ws://127.0.0.1:1", proxy=f"http://{place}"):
            await eventually(lambda: asked >= 3)
    [line] = {record.getMessage() for record in caplog.records}
    assert line == (
        "no connection to ws://127.0.0.1:1/live/data/websocket/contract/name through the proxy "
        f"{place}: the proxy closed the connection, or is not a proxy; trying again"
    )
    assert {record.name for record in caplog.records} == {"ime_live.client"}
