"""An HTTP connection: requests are answered once each and in order, until it ends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ime_live.gateway.http.lingering import LingeringClose
from ime_live.gateway.http_protocol import CONTEXT, HttpProtocol
from ime_live.gateway.stream.connection import Connection
from tests.support.gateway_connections import Process, Transport
from tests.support.received import HOST, RECEIVED, get, post, split

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

LIMIT = 300


class App:
    """Answers with what it was asked for, and takes its time if it is told to."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.at_work = 0
        self.slow = asyncio.Event()
        self.slow.set()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        self.at_work += 1
        assert self.at_work == 1, "two at once"
        await self.slow.wait()
        self.at_work -= 1
        await answer(send, scope["raw_path"])


async def answer(send: Send, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """A whole answer with the status 200."""
    fields = [(b"Content-Length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


class Server(Process):
    """A process with an ASGI application, and connections to it."""

    def __init__(self, app: Any = None, **settings: Any) -> None:  # noqa: ANN401 - ASGI
        super().__init__(**{"max_request": LIMIT} | settings)
        self.app = app or App()
        self.state = SimpleNamespace(
            connections=self.connections, tasks=set(), total_requests=0, default_headers=[]
        )

    def connect(self) -> Transport:
        """A new connection."""
        config: Any = SimpleNamespace(loaded_app=self.app, timeout_keep_alive=5)
        state: Any = self.state
        return Transport(HttpProtocol(config, state, {CONTEXT: self.context}))


def answers(written: bytes) -> list[tuple[int, bytes]]:
    """The status and the body of each answer, of which all but 100 have a length."""
    found = []
    while written:
        head, _, rest = written.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        size = int(length[1]) if length else 0
        found.append((int(head[9:12]), rest[:size]))
        written = rest[size:]
    return found


async def test_pipelined_requests_are_answered_in_order() -> None:
    server = Server()
    client = server.connect()
    paths = [b"/%d" % number for number in range(20)]
    client.send(b"".join(get(HOST, target=path.decode()) for path in paths))
    await server.settle()
    assert answers(client.written) == [(200, path) for path in paths]
    assert server.state.total_requests == 20
    assert client.is_reading()
    assert client.ended is None


async def test_reading_pauses_while_an_answer_is_outstanding() -> None:
    server = Server()
    server.app.slow.clear()
    client = server.connect()
    request = get(HOST)
    client.send(request)
    await server.settle()
    client.send(request * 1000, at_most=len(request) * 10)
    await server.settle()
    # Bytes read before the pause wait; the rest stays in the kernel.
    assert client.unread == len(request) * 990
    assert len(server.app.scopes) == 1
    server.app.slow.set()
    await server.settle()
    assert len(server.app.scopes) == 11
    assert client.is_reading()


async def test_reading_pauses_while_the_client_takes_no_data() -> None:
    server = Server()
    client = server.connect()
    client.takes = False
    request = get(HOST, target="/" + "x" * 200)
    for _ in range(1000):
        client.send(request * 10)
        await server.settle()
    assert client.held < 70_000
    assert len(server.app.scopes) < 300
    waiting = client.unread
    client.take()
    await server.settle()
    client.send(b"")
    await server.settle()
    assert client.unread < waiting


async def test_pipelined_requests_delay_others_by_one_answer_at_a_time() -> None:
    """A connection that asks without end delays the others by one answer at a time."""
    server = Server()
    busy, other = server.connect(), server.connect()
    busy.send(get(HOST, target="/busy") * 100)
    other.send(get(HOST, target="/other"))
    await server.settle()
    assert [scope["path"] for scope in server.app.scopes[:2]] == ["/busy", "/other"]


async def test_large_request_takes_a_turn_of_its_own() -> None:
    server = Server(max_request=100_000)
    large = [server.connect() for _ in range(3)]
    for client in large:
        client.send(get(HOST, "X: " + "x" * 10_000, target="/large"))
    small = server.connect()
    small.send(get(HOST, target="/small"))
    await asyncio.sleep(0)
    seen = [len(server.app.scopes)]
    for _ in range(3):
        server.loop.take_turn()
        await asyncio.sleep(0)
        seen.append(len(server.app.scopes))
    assert seen == [1, 2, 3, 4]


# How a connection ends


def closing(client: Transport) -> bool:
    """Whether only our half is closed, so that the client gets to see the answer."""
    lingers = isinstance(client.get_protocol(), LingeringClose)
    assert not lingers or client.eof_written
    return lingers and client.ended is None


async def test_half_closed_client_gets_its_answer() -> None:
    server = Server()
    server.app.slow.clear()
    client = server.connect()
    client.send(get(HOST, target="/1"))
    client.send_eof()
    await server.settle()
    assert not client.is_closing()
    server.app.slow.set()
    await server.settle()
    assert answers(client.written) == [(200, b"/1")]
    assert client.ended == "closed"
    assert not server.connections


async def test_half_closed_client_gets_all_its_answers() -> None:
    server = Server()
    server.app.slow.clear()
    client = server.connect()
    client.send(get(HOST, target="/1"))
    client.send(get(HOST, target="/2") + get(HOST, target="/3") + b"GET /4")
    client.send_eof()
    server.app.slow.set()
    await server.settle()
    assert answers(client.written) == [(200, b"/1"), (200, b"/2"), (200, b"/3")]
    assert client.ended == "closed"


@pytest.mark.parametrize("begin", [b"", b"\r\n", b"GET / HT", post("Content-Length: 3", body=b"a")])
async def test_half_close_before_a_whole_request_closes(begin: bytes) -> None:
    server = Server()
    client = server.connect()
    client.send(begin)
    client.send_eof()
    await server.settle()
    assert (client.written, client.ended) == (b"", "closed")


async def test_reset_disconnects_the_application() -> None:
    gone: list[str] = []

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        gone.append((await receive())["type"])
        await answer(send, b"never seen")

    server = Server(app)
    client = server.connect()
    client.send(get(HOST) * 2)
    await server.settle()
    client.abort()
    await server.settle()
    assert gone == ["http.disconnect"]
    assert client.written == b""
    assert not server.connections
    assert not server.state.tasks


async def test_idle_connection_is_closed_after_the_keep_alive_timeout() -> None:
    server = Server()
    client = server.connect()
    for _ in range(3):
        client.send(get(HOST))
        await server.settle()
        server.timers.pass_time(4.9)
        assert client.ended is None
    client.send(b"\r\n")
    server.timers.pass_time(0.2)
    assert client.ended == "closed"


@pytest.mark.parametrize("begin", [b"", b"G", get(HOST)[:-2], post("Content-Length: 3", body=b"a")])
async def test_slow_request_is_408(begin: bytes) -> None:
    server = Server()
    client = server.connect()
    client.send(begin)
    server.timers.pass_time(9.9)
    assert client.written == b""
    client.send(b"" if not begin else b"X")
    server.timers.pass_time(0.2)
    assert [status for status, _ in answers(client.written)] == [408]
    assert closing(client)


async def test_large_request_is_refused_when_incomplete_ones_hold_too_much() -> None:
    server = Server(max_request=100_000, max_waiting=50_000)
    begin = get(HOST, "X: " + "x" * 30_000)[:-2]
    first, second, small = server.connect(), server.connect(), server.connect()
    first.send(begin)
    second.send(begin)
    small.send(get(HOST))
    await server.settle()
    assert (first.written, first.ended) == (b"", None)
    assert [status for status, _ in answers(second.written)] == [503]
    assert [status for status, _ in answers(small.written)] == [200]
    first.send(b"\r\n")
    await server.settle()
    assert [status for status, _ in answers(first.written)] == [200]
    third = server.connect()
    third.send(begin)
    assert third.written == b""
    third.abort()
    await server.settle()
    assert server.context.request_memory.buffered == 0


async def test_large_request_is_refused_when_those_that_wait_for_their_turn_hold_too_much() -> None:
    server = Server(max_request=100_000, max_waiting=50_000)
    server.context.work.take_rest()
    large = get(HOST, "X: " + "x" * 30_000)
    first, second = server.connect(), server.connect()
    first.send(large)
    second.send(large)
    assert first.written == b""
    assert [status for status, _ in answers(second.written)] == [503]
    await server.settle()
    assert [status for status, _ in answers(first.written)] == [200]
    assert second.written.count(b"HTTP/1.1 ") == 1
    assert server.context.request_memory.buffered == 0


async def test_slow_second_request_is_408() -> None:
    server = Server()
    client = server.connect()
    client.send(get(HOST))
    await server.settle()
    server.timers.pass_time(4.0)
    client.send(b"GET")
    server.timers.pass_time(9.9)
    assert [status for status, _ in answers(client.written)] == [200]
    server.timers.pass_time(0.2)
    assert [status for status, _ in answers(client.written)] == [200, 408]


async def test_shutdown_closes_after_the_outstanding_answer() -> None:
    server = Server()
    server.app.slow.clear()
    idle, busy = server.connect(), server.connect()
    busy.send(get(HOST))
    await server.settle()
    for connection in list(server.connections):
        connection.shutdown()
    assert (idle.ended, busy.ended) == ("closed", None)
    server.app.slow.set()
    await server.settle()
    assert answers(busy.written) == [(200, b"/")]
    assert b"connection: close" in busy.written
    for connection in list(server.connections):
        connection.shutdown()
    busy.send_eof()
    await server.settle()
    assert not server.connections


async def test_requests_that_wait_for_their_turn_are_answered_before_a_shutdown() -> None:
    server = Server()
    await server.drain.run()
    server.context.work.take_rest()
    request, handshake, part = (server.connect() for _ in range(3))
    request.send(get(HOST))
    handshake.send(HANDSHAKE)
    part.send(get(HOST)[:-1])
    for connection in list(server.connections):
        connection.shutdown()
    await server.settle()
    assert answers(request.written) == [(200, b"/")]
    assert b"connection: close" in request.written
    assert [status for status, _ in answers(handshake.written)] == [503]
    assert (part.written, part.ended) == (b"", "closed")


async def test_draining_process_closes_after_each_answer() -> None:
    server = Server()
    client = server.connect()
    client.send(get(HOST))
    await server.settle()
    assert not closing(client)
    await server.drain.run()
    client.send(get(HOST, target="/2"))
    await server.settle()
    assert answers(client.written) == [(200, b"/"), (200, b"/2")]
    assert client.written.count(b"connection: close") == 1
    assert closing(client)


# Streams take over


HANDSHAKE = get(
    HOST, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    target="/live/data/websocket/contract/name?contract_names=KASH",
)  # fmt: skip
EVENTS = get(HOST, target="/live/data/sse/contract/nam%65?contract_names=KASH")


async def test_pipelined_handshake_takes_over_after_the_answers() -> None:
    server = Server()
    server.app.slow.clear()
    client = server.connect()
    client.send(get(HOST, target="/1"))
    client.send(get(HOST, target="/2") + HANDSHAKE + b"\x89\x81\x00\x00\x00\x00x")
    await server.settle()
    server.app.slow.set()
    await server.settle()
    first, second, rest = client.written.split(b"HTTP/1.1 ")[1:]
    assert (first[-2:], second[-2:]) == (b"/1", b"/2")
    assert rest.startswith(b"101 ")
    assert rest.endswith(b"\r\n\r\n\x8a\x01x")
    assert client.is_reading()


async def test_half_close_behind_a_pipelined_handshake_ends_it() -> None:
    server = Server()
    server.app.slow.clear()
    client = server.connect()
    client.send(get(HOST, target="/1"))
    client.send(HANDSHAKE)
    client.send_eof()
    server.app.slow.set()
    await server.settle()
    assert answers(client.written) == [(200, b"/1")]
    assert client.ended == "closed"
    assert not server.connections


async def test_half_close_behind_pipelined_events_ends_them() -> None:
    server = Server()
    server.app.slow.clear()
    client = server.connect()
    client.send(get(HOST, target="/1"))
    client.send(EVENTS + get(HOST))
    client.send_eof()
    server.app.slow.set()
    await server.settle()
    first, second = client.written.split(b"HTTP/1.1 ")[1:]
    assert first.endswith(b"/1")
    assert re.search(rb"(?s)^200 .*\r\n\r\nretry: \d+\n$", second)
    assert client.ended == "closed"
    assert server.closed == [(1000, "client left")]


async def test_shutdown_reaches_streams_and_not_the_connections_they_came_on() -> None:
    server = Server()
    server.connect().send(HANDSHAKE)
    server.connect().send(EVENTS)
    await server.settle()
    assert [type(connection) for connection in server.connections] == [Connection] * 2


async def test_drained_process_refuses_streams() -> None:
    server = Server()
    await server.drain.run()
    stream, events = server.connect(), server.connect()
    stream.send(HANDSHAKE)
    events.send(EVENTS)
    await server.settle()
    for client in (stream, events):
        assert [status for status, _ in answers(client.written)] == [503]
        assert re.search(rb"(?i)retry-after: ([2-9]|10)\r\n", client.written)


async def test_stream_whose_opening_lasts_until_the_drain_is_refused() -> None:
    server = Server()
    server.upstream.slow.clear()
    client = server.connect()
    client.send(HANDSHAKE)
    await server.settle()
    await server.drain.run()
    server.upstream.slow.set()
    await server.settle()
    assert [status for status, _ in answers(client.written)] == [503]
    assert not len(server.context.open_streams)


# Bodies


async def test_expectation_is_answered_with_100() -> None:
    server = Server()
    client = server.connect()
    client.send(post("Expect: 100-continue", "Content-Length: 3"))
    await server.settle()
    assert client.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"ab")
    client.send(b"c" + get(HOST, target="/2"))
    await server.settle()
    assert answers(client.written) == [(100, b""), (200, b"/"), (200, b"/2")]


async def test_expectation_of_a_large_body_is_413() -> None:
    server = Server()
    client = server.connect()
    client.send(post("Expect: 100-continue", f"Content-Length: {LIMIT + 1}"))
    assert [status for status, _ in answers(client.written)] == [413]


# Behaviour of the application


# However the bytes are split


async def exchange(pieces: list[bytes]) -> tuple[list[tuple[int, bytes]], bool]:
    """Return a connection's answer to these pieces, and whether it is at its end."""
    server = Server()
    client = server.connect()
    for piece in pieces:
        client.send(piece)
        await server.settle()
    # A client that sends its body at once needs no "100 Continue".
    answered = [one for one in answers(client.written) if one[0] != 100]
    return answered, closing(client)


@given(RECEIVED, st.data())
@example(post("Content-Length: 3", body=b"abc") + get(HOST) + get(HOST, "Connection: close"), None)
def test_split_requests_get_the_same_answers(received: bytes, data: Any) -> None:  # noqa: ANN401
    pieces = split(received, data) if data else [bytes((byte,)) for byte in received]
    assert asyncio.run(exchange(pieces)) == asyncio.run(exchange([received]))
