"""A proxy of our own: CONNECT, plain calls, a password, and all that can go wrong with one."""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Proxy:
    """A running proxy, and the first line of each request that it got."""

    url: str
    requested: list[str] = field(default_factory=list)


@asynccontextmanager
async def http_proxy(
    *,
    user: str = "",
    statuses: tuple[int, ...] = (),
    hangs: bool = False,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Proxy]:
    """Run one.

    Args:
        user: who may use it, as ``name:password``; by default everybody.
        statuses: how it refuses the first requests.
        hangs: it reads, and never answers.
        tls: it is itself spoken to by TLS.
    """
    refusals = list(statuses)
    writers: list[asyncio.StreamWriter] = []
    tasks: set[asyncio.Task[None]] = set()
    wanted = f"Basic {b64encode(user.encode()).decode()}"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        made.requested.append(first)
        if hangs:
            await asyncio.Event().wait()
        headers = dict(line.split(": ", 1) for line in lines if line)
        status = refusals.pop(0) if refusals else 200
        if user and headers.pop("Proxy-Authorization", "") != wanted:
            status = 407
        if status != 200:
            writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status)
            return
        method, target, _ = first.split(" ")
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        far_reader, far_writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
        writers.append(far_writer)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            rest = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            far_writer.write(f"{method} {parts.path}?{parts.query} HTTP/1.1\r\n{rest}\r\n".encode())
        async with asyncio.TaskGroup() as both:
            both.create_task(pump(reader, far_writer))
            both.create_task(pump(far_reader, writer))

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await serve(reader, writer)
        finally:
            writer.close()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(served(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=tls)
    place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    made = Proxy(f"http{'s' if tls else ''}://{f'{user}@' if user else ''}{place}")
    try:
        yield made
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.close()


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Pass on what comes until its end."""
    with suppress(OSError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    sink.close()
