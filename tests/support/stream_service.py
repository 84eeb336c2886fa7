"""A stand-in for the service's WebSocket side, for what a real gateway does not do on demand.

`connect` and `take` are how tests use it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

import ime_live
from tests.support.serving import serving
from tests.support.stream_messages import timestamp

Answer = Callable[[ServerConnection], Awaitable[None]]

PATIENCE: Final = 15.0
"""Seconds within which a message must come."""

_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass
class Service:
    """The requests it got, one entry per handshake, and its address."""

    url: str = ""
    paths: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)


@asynccontextmanager
async def service(*answers: Answer | int, ping: float | None = None) -> AsyncIterator[Service]:
    """Serve: the first connection gets the first answer and so on, the last one is repeated.

    Args:
        answers: what a connection does once it is open, or an HTTP status that refuses it.
        ping: seconds between its own pings.
    """
    made = Service()

    def answer_of(number: int) -> Answer | int:
        return answers[min(number, len(answers)) - 1]

    def begin(connection: ServerConnection, request: Request) -> Response | None:
        made.paths.append(request.path)
        made.authorizations.append(request.headers.get("Authorization"))
        connection.number = len(made.paths)  # type: ignore[attr-defined]
        answer = answer_of(len(made.paths))
        return connection.respond(answer, "no") if isinstance(answer, int) else None

    async def talk(connection: ServerConnection) -> None:
        answer = answer_of(connection.number)  # type: ignore[attr-defined]
        assert not isinstance(answer, int)
        await answer(connection)

    async with serve(talk, "127.0.0.1", 0, process_request=begin, ping_interval=ping) as server:
        made.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield made


@asynccontextmanager
async def deaf_service() -> AsyncIterator[str]:
    """A service that shakes hands and then neither reads nor writes, as a machine that froze."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        key = next(
            line.partition(b":")[2].strip()
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key:")
        )
        digest = hashlib.sha1(key + _MAGIC, usedforsecurity=False).digest()
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )

    async with serving(talk) as port:
        yield f"ws://127.0.0.1:{port}"


def connect(url: str, *names: str, **options: Any) -> Any:  # noqa: ANN401 - sections= and such
    """Connect, with short waits between two tries."""
    return ime_live.connect(
        url, names or ["A"], **{"proxy": None, "max_reconnect_delay": 0.02} | options
    )


async def take(stream: ime_live.Stream[ime_live.Payload]) -> ime_live.Message[ime_live.Payload]:
    """The next message."""
    async with asyncio.timeout(PATIENCE):
        return await anext(stream)


def closing(code: int, reason: str = "") -> Callable[[ServerConnection], Awaitable[None]]:
    """Close at once."""

    async def close(connection: ServerConnection) -> None:
        await connection.close(code, reason)

    return close


def sending(*messages: bytes) -> Callable[[ServerConnection], Awaitable[None]]:
    """Send messages and stay."""

    async def send(connection: ServerConnection) -> None:
        for message in messages:
            await connection.send(message, text=True)
        await connection.wait_closed()

    return send


def control(request: bytes | str, *names: str) -> bytes:
    """The answer to a request, when these contracts are held by name."""
    command = msgspec.json.decode(request)
    data = {"id": command["id"], "action": command["action"], "contract_names": names}
    whole = {"channel": "IME Control", "timestamp": timestamp(0)}
    return msgspec.json.encode({**whole, "data": {**data, "contract_ids": [], "errors": []}})


async def aborting(connection: ServerConnection) -> None:
    """Vanish: 1006."""
    connection.transport.abort()
