"""A server in the test's event loop, which leaves no connection open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def serving(handle: Handler, port: int = 0) -> AsyncIterator[int]:
    """Serve on a port of 127.0.0.1, by default a free one; yield its number.

    `asyncio.Server` leaves its connections alone when it is closed, so one that a busy machine
    accepts late would be found open in a later test. This ends all of them.
    """
    tasks: list[asyncio.Task[None]] = []
    writers: list[asyncio.StreamWriter] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.ensure_future(handle(reader, writer)))
        writers.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.sleep(0.01)  # connections that are accepted already get their handler
        for task in tasks:
            task.cancel()
        for error in await asyncio.gather(*tasks, return_exceptions=True):
            # The peer may leave at any time; everything else is a fault of the test.
            if isinstance(error, Exception) and not isinstance(error, OSError | EOFError):
                raise error
        for writer in writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
