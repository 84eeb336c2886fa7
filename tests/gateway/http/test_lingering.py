"""A lingering close: the peer still reads the last bytes."""

from __future__ import annotations

from typing import Any

import pytest

from ime_live.gateway.http.lingering import CLOSE_TIMEOUT
from tests.gateway.test_http_protocol import (
    LIMIT,
    Receive,
    Send,
    Server,
    answer,
    answers,
    closing,
)
from tests.support.received import CHUNKED, HOST, get, post


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get(HOST, "Connection: close"), 200),
        (get(HOST, version="1.0"), 200),
        (get(), 400),
        (get(HOST, "X: " + "x" * LIMIT), 431),
        (b"BREW / HTTP/1.1\r\n\r\n", 501),
        (b"GET / HTTP/3.0\r\n\r\n", 505),
        (post("Content-Length: 9999999"), 413),
        (post("Content-Length: 1", CHUNKED), 400),
        (post(CHUNKED, body=b"nonsense\r\n"), 400),
    ],
)
async def test_last_answer_closes_the_connection_lingering(request_: bytes, status: int) -> None:
    server = Server()
    client = server.connect()
    client.send(request_ + get(HOST))
    await server.settle()
    assert [code for code, _ in answers(client.written)] == [status]
    assert b"connection: close\r\n" in client.written
    assert closing(client)
    # Later bytes are discarded piece by piece.
    for _ in range(10):
        client.send(get(HOST) * 100)
        server.timers.pass_time(0.05)
    assert len(answers(client.written)) == 1
    assert server.connections
    client.send_eof()
    await server.settle()
    assert client.ended == "closed"
    assert not server.connections


async def test_lingering_close_aborts_after_the_timeout() -> None:
    server = Server()
    client = server.connect()
    client.send(get())
    server.timers.pass_time(CLOSE_TIMEOUT - 0.1)
    assert client.ended is None
    server.timers.pass_time(0.2)
    assert client.ended == "aborted"


async def test_lingering_close_waits_for_a_slow_client() -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await answer(send, b"x" * 1_000_000)

    server = Server(app)
    client = server.connect()
    client.takes = False
    client.send(get(HOST, version="1.0"))
    await server.settle()
    server.timers.pass_time(20 * CLOSE_TIMEOUT)
    assert client.ended is None
    client.take()
    server.timers.pass_time(CLOSE_TIMEOUT + 0.1)
    assert client.ended == "aborted"


async def test_many_floods_after_the_end_are_read_no_faster_than_a_few() -> None:
    server = Server()
    clients = [server.connect() for _ in range(100)]
    for client in clients:
        client.send(get() + b"x" * 1_000_000, at_most=1_000)
    await server.settle()
    before = sum(client.reads for client in clients)
    for _ in range(100):
        server.timers.pass_time(0.01)
        for client in clients:
            client.send(b"", at_most=1_000)
    assert 450 < sum(client.reads for client in clients) - before <= 600
    assert all(client.ended is None for client in clients)
