"""The WebSocket library on real sockets: how its connections end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from tests.support.serving import serving
from tests.support.stream_service import connect

Eventually = Callable[..., Awaitable[None]]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 2", b"hello\r\n\r\n"])
@pytest.mark.parametrize("reset", [False, True])
async def test_proxy_that_closes_without_an_answer_is_logged_once(
    answer: bytes, reset: bool, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    requested = ended = 0

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requested, ended
        requested += 1
        # The client may close the stream before it has sent anything.
        with suppress(OSError, asyncio.IncompleteReadError):
            # Bytes that were not read make the kernel reset the connection.
            await (reader.readexactly(1) if reset else reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        ended += 1

    caplog.set_level(logging.INFO)
    async with serving(close) as port:
        place = f"127.0.0.1:{port}"
        async with connect("ws://127.0.0.1:1", proxy=f"http://{place}"):
            await eventually(lambda: requested >= 3)
    for _ in range(20):
        await asyncio.sleep(0)  # a connection that was accepted last begins
    await eventually(lambda: ended == requested)
    [line] = {record.getMessage() for record in caplog.records}
    assert line == (
        "no connection to ws://127.0.0.1:1/live/data/websocket/contract/name through the proxy "
        f"{place}: the proxy closed the connection, or is not a proxy; trying again"
    )
    assert {record.name for record in caplog.records} == {"ime_live.client"}
