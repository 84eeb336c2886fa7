"""Proxy: an HTTP proxy for the tests, which tunnels, forwards, counts and asks for a password."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from urllib.parse import urlsplit

from tests.support.signalr.server import LoopbackServer
from tests.support.signalr.wire import Exchange

_READ = 65_536


class Proxy(LoopbackServer):
    """An HTTP proxy on loopback.

    Attributes:
        tunnels: where CONNECT was asked for, in order.
        forwarded: the first address of each connection that was used without CONNECT.
        used: the ports of its own connections to servers.
        refused: how many requests came without the right credentials.
    """

    def __init__(self, credentials: str = "") -> None:
        """Make a proxy; ``credentials`` are ``user:password``, empty for none."""
        super().__init__()
        self.tunnels: list[str] = []
        self.forwarded: list[str] = []
        self.used: set[int] = set()
        self.refused = 0
        self._credentials = credentials

    def url(self, credentials: str = "") -> str:
        """The proxy's address for clients."""
        return f"http://{credentials + '@' if credentials else ''}127.0.0.1:{self.port}"

    async def answer(self, exchange: Exchange) -> None:
        """Open a tunnel, or forward the request and all else on this connection."""
        request = exchange.request
        wanted = "Basic " + base64.b64encode(self._credentials.encode()).decode()
        if self._credentials and request.header("proxy-authorization") != wanted:
            self.refused += 1
            exchange.headers.append(("Proxy-Authenticate", 'Basic realm="proxy"'))
            exchange.answer(407, "who are you?", "text/plain")
            return
        exchange.keep = False
        if request.method == "CONNECT":
            self.tunnels.append(request.target)
            host, _, port = request.target.rpartition(":")
            first = b""
        else:
            self.forwarded.append(request.target)
            parts = urlsplit(request.target)
            host, port = parts.hostname or "", str(parts.port or 80)
            lines = [f"{request.method} {request.target} HTTP/1.1"]
            lines += [f"{name}: {value}" for name, value in request.headers]
            first = "\r\n".join([*lines, "", ""]).encode() + request.body
        if host != "127.0.0.1":
            self.violations.append(f"a way out of this machine: {request.target}")
            exchange.answer(403, "", "text/plain")
            return
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            exchange.answer(502, "", "text/plain")
            return
        self.used.add(writer.get_extra_info("sockname")[1])
        if request.method == "CONNECT":
            exchange.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        writer.write(first)
        await _relay(exchange, reader, writer)


async def _relay(
    exchange: Exchange, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    async def up() -> None:
        while data := await exchange.receive():
            writer.write(data)

    async def down() -> None:
        while data := await reader.read(_READ):
            exchange.write(data)

    ways = {asyncio.create_task(up()), asyncio.create_task(down())}
    try:
        # A close of either side ends both.
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        done, _ = await asyncio.wait(ways)
        for way in done:
            with suppress(asyncio.CancelledError, ConnectionError):
                way.result()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
