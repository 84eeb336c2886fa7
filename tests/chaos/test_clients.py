"""Clients of the chaos run tell a refusal from a break, on real sockets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket

from chaos.checker import ClientChecker, ClientOptions
from chaos.clients.client import Client, Frontend
from chaos.clients.events import EventClient
from chaos.clients.library import LibraryClient
from chaos.clients.websocket import WebSocketClient
from chaos.invariants import Invariant, Violation
from tests.support.serving import Handler, serving

PATIENCE = 20.0

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 1000\n"
REFUSED = b'event: end\ndata: {"code":1013,"reason":"contracts are not loaded yet"}\n\n'
COMMENT = b"data: {}\n\n"


def answering(answer: bytes) -> Handler:
    """Answers a request so, and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    return serve


@asynccontextmanager
async def events(answer: bytes) -> AsyncIterator[int]:
    """The port of a gateway for events."""
    async with serving(answering(answer)) as port:
        yield port


@asynccontextmanager
async def websockets(*, begins: bool) -> AsyncIterator[int]:
    """The port of a gateway that closes with 1013, at once or after a message."""

    async def serve(connection: ServerConnection) -> None:
        if begins:
            await connection.send('{"channel": "another"}')
        await connection.close(1013, "contracts are not loaded yet")

    async with serve_websocket(serve, "127.0.0.1", 0) as server:
        yield next(iter(server.sockets)).getsockname()[1]


async def outcome(make: type[Client], port: int, *, faulty: bool) -> tuple[int, list[Invariant]]:
    """Refusals, and the broken invariants of a client's first connection."""
    violations: list[Violation] = []
    frontend = Frontend({"gateway 1": port}, port)
    frontend.faulty = faulty
    ended = asyncio.Event()

    class Checker(ClientChecker):
        def closed(self, at: int, reason: str, *, expected: bool) -> None:
            super().closed(at, reason, expected=expected)
            ended.set()

        def refused(self, at: int, reason: str, *, expected: bool) -> None:
            super().refused(at, reason, expected=expected)
            ended.set()

    checker = Checker("client", ClientOptions(("1000",), snapshot=True), violations.append)
    client = make(checker, frontend, random.Random(1))
    task = asyncio.create_task(client.run())
    async with asyncio.timeout(PATIENCE):
        await ended.wait()
    refused, broken = frontend.refused, [each.invariant for each in violations]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not checker.connected
    return refused, broken


@pytest.mark.parametrize(
    ("answer", "faulty", "expected"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", True, (1, [])),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False, (1, [Invariant.CONNECTED])),
        (HEAD + REFUSED, True, (1, [])),
        (HEAD + REFUSED, False, (1, [Invariant.CONNECTED])),
        (HEAD, True, (0, [Invariant.CONNECTED])),  # broken off
    ],
)
async def test_refused_events_differ_from_broken_ones(
    answer: bytes, faulty: bool, expected: tuple[int, list[Invariant]]
) -> None:
    async with events(answer) as port:
        assert await outcome(EventClient, port, faulty=faulty) == expected


@pytest.mark.parametrize(
    ("begins", "faulty", "expected"),
    [
        (False, True, (1, [])),
        (False, False, (1, [Invariant.CONNECTED])),
        (True, True, (0, [Invariant.CONNECTED])),
    ],
)
async def test_refused_websocket_differs_from_an_ended_one(
    begins: bool, faulty: bool, expected: tuple[int, list[Invariant]]
) -> None:
    async with websockets(begins=begins) as port:
        assert await outcome(WebSocketClient, port, faulty=faulty) == expected


async def test_refusals_of_the_library_are_counted() -> None:
    async with websockets(begins=False) as port:
        frontend = Frontend({"gateway 1": port}, port)
        options = ClientOptions(("1000",), resumes=True, blind=True)
        checker = ClientChecker("library", options, lambda _: None)
        task = asyncio.create_task(LibraryClient(checker, frontend, random.Random(1)).run())
        async with asyncio.timeout(PATIENCE):
            while frontend.refused < 2:  # noqa: ASYNC110 - another task's
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
