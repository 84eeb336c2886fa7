"""The port of programs without clients: its answers, and that no client can harm the program."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from ime_live.monitoring.probe_server import MAX_CONNECTIONS, MAX_HEAD, ProbeServer
from ime_live.process.listener import bind
from tests.support.rows import each_row

PATIENCE = 20.0


def exposition() -> bytes:
    return b"metric 1\n"


def respond(head: str, *, reason: str | None = None) -> tuple[int, dict[str, str], bytes]:
    """The status, headers and body of a response."""
    raw = ProbeServer(lambda: reason, exposition).response_to(head.encode())
    first, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = first.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status.split(" ")[1]), headers, body


def test_health_of_a_program_that_is_not_ready_is_200() -> None:
    status, headers, body = respond("GET /health HTTP/1.1\r\n\r\n", reason="no")
    assert (status, body) == (200, b'{"status":"ok"}')
    assert headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize(("reason", "status"), [(None, 200), ("Redis cannot be reached", 503)])
def test_ready_is_503_with_the_reason(reason: str | None, status: int) -> None:
    found, _, body = respond("GET /ready/?a=b HTTP/1.1\r\n\r\n", reason=reason)
    assert found == status
    assert msgspec.json.decode(body) == {"ready": reason is None, "reason": reason}


def test_metrics_are_text_of_prometheus() -> None:
    status, headers, body = respond("GET /metrics HTTP/1.0\r\nHost: a\r\n\r\n")
    assert (status, body) == (200, exposition())
    assert headers["Content-Type"].startswith("text/plain; version=")


def test_head_has_no_body() -> None:
    status, headers, body = respond("HEAD /metrics HTTP/1.1\r\n\r\n")
    assert (status, headers["Content-Length"], body) == (200, "9", b"")


@each_row(
    ("head", "status"),
    [
        ("", 431),
        ("\r\n\r\n", 400),
        ("GET /metrics\r\n\r\n", 400),
        ("GET /metrics SPDY/3\r\n\r\n", 400),
        ("GET  /metrics HTTP/1.1\r\n\r\n", 400),
        ("\x16\x03\x01 \x80\r\n\r\n", 400),
        ("POST /metrics HTTP/1.1\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\n\r\n", 404),
        ("GET /é HTTP/1.1\r\n\r\n", 404),
        ("GET http://a/metrics HTTP/1.1\r\n\r\n", 404),
    ],
)
def test_other_requests_are_refused(head: str, status: int) -> None:
    found, headers, body = respond(head)
    assert found == status
    assert "detail" in msgspec.json.decode(body)
    assert ("Allow" in headers) is (status == 405)


def test_metrics_that_cannot_be_made_are_500() -> None:
    def fail() -> bytes:
        raise ZeroDivisionError

    server = ProbeServer(lambda: None, fail)
    assert server.response_to(b"GET /metrics HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 500 ")


class Port:
    """A server on a port, as clients see it."""

    def __init__(self, port: int) -> None:
        self.number = port

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.number)

    async def send(self, request: bytes) -> bytes:
        """Send a request, and return everything until the end of the connection."""
        reader, writer = await self.connect()
        writer.write(request)
        try:
            return await asyncio.wait_for(reader.read(), PATIENCE)
        except ConnectionError:
            return b""
        finally:
            writer.close()


@asynccontextmanager
async def served(*, timeout: float = 5.0, body: bytes = b"metric 1\n") -> AsyncIterator[Port]:  # noqa: ASYNC109
    with bind("127.0.0.1", 0) as listener:
        port = Port(listener.getsockname()[1])
        async with ProbeServer(lambda: None, lambda: body, timeout=timeout).serving(listener):
            yield port


GET = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"


async def test_connection_ends_after_one_answer() -> None:
    async with served() as port:
        answer = await port.send(GET + GET)
    assert answer.count(b"HTTP/1.1 200 OK") == 1


async def test_request_may_come_in_pieces() -> None:
    async with served() as port:
        reader, writer = await port.connect()
        for byte in GET:
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await asyncio.wait_for(reader.read(), PATIENCE)).startswith(b"HTTP/1.1 200 OK")
        writer.close()


async def test_request_that_is_too_long_is_refused() -> None:
    async with served() as port:
        answer = await port.send(b"GET /" + b"a" * 2 * MAX_HEAD)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")


async def test_silent_connections_are_closed_after_the_timeout() -> None:
    async with served(timeout=0.2) as port:
        silent = [await port.connect() for _ in range(MAX_CONNECTIONS)]
        for reader, _ in silent:
            with pytest.raises((ConnectionError, EOFError)):
                await asyncio.wait_for(reader.readexactly(1), PATIENCE)
        assert (await port.send(GET)).startswith(b"HTTP/1.1 200 OK")
        for _, writer in silent:
            writer.close()


async def test_connections_above_the_limit_are_closed_at_once() -> None:
    async with served() as port:
        silent = [await port.connect() for _ in range(MAX_CONNECTIONS)]
        assert await port.send(GET) == b""
        silent[0][1].close()  # there is a place again
        async with asyncio.timeout(PATIENCE):
            while not await port.send(GET):  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
        for _, writer in silent:
            writer.close()


async def test_clients_that_do_not_read_do_not_delay_the_end() -> None:
    async with asyncio.timeout(PATIENCE):
        async with served(timeout=600.0, body=b"x" * 50_000_000) as port:
            reader, writer = await port.connect()
            writer.write(GET)
            await reader.readexactly(1)  # the rest waits, more than all buffers hold
        writer.close()
