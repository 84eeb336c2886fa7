"""ASGI for one request: scope, answer, and failures of the application."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from ime_live.gateway.http_protocol import CONTEXT
from tests.gateway.test_http_protocol import Receive, Send, Server, answer, answers, closing
from tests.support.received import HOST, get


async def test_request_becomes_an_asgi_scope() -> None:
    server = Server()
    client = server.connect()
    client.send(get("Host: a.example", "X: 1", "x: 2", target="/a%2Fb%20%D8%B3?c=%20"))
    await server.settle()
    [scope] = server.app.scopes
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("192.0.2.2", 80),
        "client": ("192.0.2.1", 5000),
        "scheme": "http",
        "root_path": "",
        "method": "GET",
        "path": "/a/b س",
        "raw_path": b"/a%2Fb%20%D8%B3",
        "query_string": b"c=%20",
        "headers": [(b"host", b"a.example"), (b"x", b"1, 2")],
        "state": {CONTEXT: server.context},
    }


@pytest.mark.parametrize(
    ("version", "head", "body"),
    [
        ("1.1", b"transfer-encoding: chunked\r\n", b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"),
        ("1.0", b"connection: close\r\n", b"abcd"),
    ],
)
async def test_answer_of_unknown_length_is_chunked_or_ends_with_the_connection(
    version: str, head: bytes, body: bytes
) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        for part in (b"abc", b"", b"d"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})

    server = Server(app)
    client = server.connect()
    client.send(get(HOST, version=version))
    await server.settle()
    assert client.written == b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body
    assert closing(client) is (version == "1.0")


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("GET", 204)])
async def test_response_without_a_body_ends_with_its_head(method: str, status: int) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"4")] if status == 200 else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"abcd" if status == 200 else b""})

    server = Server(app)
    client = server.connect()
    client.send(f"{method} / HTTP/1.1\r\nHost: t\r\n\r\n".encode() * 2)
    await server.settle()
    assert client.written.count(b"HTTP/1.1 %d " % status) == 2
    assert client.written.endswith(b"\r\n\r\n")
    assert b"chunked" not in client.written


async def test_head_and_body_are_written_at_once() -> None:
    writes: list[bytes] = []
    server = Server()
    server.state.default_headers = [(b"date", b"today")]
    client = server.connect()
    client.write = writes.append  # type: ignore[method-assign,assignment]
    client.send(get(HOST))
    await server.settle()
    assert writes == [b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 1\r\n\r\n/"]


async def fails(scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401 - ASGI
    raise ValueError("unlucky")


async def fails_after_the_start(scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401
    await send({"type": "http.response.start", "status": 200})
    raise ValueError("unlucky")


async def says_nothing(scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401 - ASGI
    """Return."""


async def splits_its_head(scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401 - ASGI
    await answer(send, b"x", (b"x-name", b"a\r\nset-cookie: b"))


async def begins_with_its_body(scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401
    await send({"type": "http.response.body", "body": b"x"})


@pytest.mark.parametrize(
    "app", [fails, fails_after_the_start, says_nothing, splits_its_head, begins_with_its_body]
)
async def test_application_without_an_answer_is_500(app: Any) -> None:  # noqa: ANN401 - ASGI
    server = Server(app)
    client = server.connect()
    with capture_logs():
        client.send(get(HOST, target="/a?token=secret"))
        await server.settle()
    assert answers(client.written) == [(500, b"Internal Server Error")]
    assert b"set-cookie" not in client.written
    assert closing(client)


async def test_failure_is_logged_without_the_query() -> None:
    server = Server(fails)
    with capture_logs() as logs:
        for _ in range(10):
            server.connect().send(get(HOST, target="/a?token=secret"))
            await server.settle()
    # One line for a kind of failure, however often a client brings it about.
    assert [(line["event"], line["path"]) for line in logs] == [("request failed", "/a")]
    assert "secret" not in str(logs)


@pytest.mark.parametrize("body", [b"abcdef", b"ab"])
async def test_half_an_answer_aborts_the_connection(body: bytes) -> None:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": body})

    server = Server(app)
    client = server.connect()
    with capture_logs() as logs:
        client.send(get(HOST) * 2)
        await server.settle()
    assert [line["event"] for line in logs] == ["request failed"]
    assert client.written.endswith(b"\r\n\r\na")
    assert client.ended == "aborted"
