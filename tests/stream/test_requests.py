"""Unusual requests over raw sockets, answered as RFC 9110, 9112 and 6455 require.

HTTP/1.1 conformance in small: a row is what a client sends, the statuses of the answers, and
whether the connection is kept.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from tests.stream.conftest import PERSIAN, Market
from tests.support.gateways import Gateway, RawClient, frame_bytes, handshake

HOST = "Host: t\r\n"
HEALTH = f"GET /health HTTP/1.1\r\n{HOST}\r\n"
CHUNKS = "Transfer-Encoding: chunked\r\n"
UPGRADE = "Connection: Upgrade\r\nUpgrade: "


def post(fields: str, body: str = "") -> str:
    """A request with a body, on a path that takes none."""
    return f"POST /health HTTP/1.1\r\n{HOST}{fields}\r\n{body}"


KEPT: list[tuple[str, str, list[int]]] = [
    ("one request", HEALTH, [200]),
    ("pipelined requests", HEALTH + post("") + HEALTH, [200, 405, 200]),
    ("empty lines before a request", "\r\n\r\n" + HEALTH + "\r\n" + HEALTH, [200, 200]),
    ("blanks around values", f"GET /health HTTP/1.1\r\nHost: \t t \t\r\n\r\n{HEALTH}", [200, 200]),
    ("a body with a length", post("Content-Length: 5\r\n", "GET /") + HEALTH, [405, 200]),
    ("a body of GET", HEALTH[:-2] + "Content-Length: 2\r\n\r\nab" + HEALTH, [200, 200]),
    ("an empty body", post("Content-Length: 0\r\n") + HEALTH, [405, 200]),
    ("chunks", post(CHUNKS, "5;a=b\r\nGET /\r\n00\r\nTrailer: x\r\n\r\n") + HEALTH, [405, 200]),
    ("HEAD has no body", f"HEAD /health HTTP/1.1\r\n{HOST}\r\n{HEALTH}", [200, 200]),
    ("an absolute target", f"GET http://a/health HTTP/1.1\r\n{HOST}\r\n{HEALTH}", [200, 200]),
    ("OPTIONS of the server", f"OPTIONS * HTTP/1.1\r\n{HOST}\r\n{HEALTH}", [404, 200]),
    ("an offer of h2c", HEALTH[:-2] + UPGRADE + f"h2c\r\n\r\n{HEALTH}", [200, 200]),
    ("an offer with a body", post(f"Content-Length: 1\r\n{UPGRADE}x\r\n", "a"), [405]),
    ("an upgrade not offered", HEALTH[:-2] + "Upgrade: websocket\r\n\r\n" + HEALTH, [200, 200]),
    ("an expectation without a body", HEALTH[:-2] + "Expect: 100-continue\r\n\r\n", [200]),
    ("an unknown expectation", HEALTH[:-2] + "Expect: fame\r\n\r\n", [200]),
    ("a long request line", f"GET /health?{'x' * 100_000} HTTP/1.1\r\n{HOST}\r\n", [200]),
    ("many fields", HEALTH[:-2] + "X: y\r\n" * 190 + "\r\n", [200]),
    ("HTTP/1.2", f"GET /health HTTP/1.2\r\n{HOST}\r\n", [200]),
]  # fmt: skip

CLOSED: list[tuple[str, str, list[int]]] = [
    ("Connection: close", HEALTH[:-2] + "Connection: x, Close\r\n\r\n" + HEALTH, [200]),
    ("HTTP/1.0", "GET /health HTTP/1.0\r\n\r\n" + HEALTH, [200]),
    ("HTTP/1.0 offers no upgrade", f"GET /health HTTP/1.0\r\n{UPGRADE}websocket\r\n\r\n", [200]),
    ("no host", "GET /health HTTP/1.1\r\n\r\n", [400]),
    ("two hosts", f"GET /health HTTP/1.1\r\n{HOST}{HOST}\r\n", [400]),
    ("a host that is none", "GET /health HTTP/1.1\r\nHost: a b\r\n\r\n", [400]),
    ("no path", f"GET health HTTP/1.1\r\n{HOST}\r\n", [400]),
    ("CONNECT", f"CONNECT t:80 HTTP/1.1\r\n{HOST}\r\n", [400]),
    ("an unknown method", f"BREW /health HTTP/1.1\r\n{HOST}\r\n", [501]),
    ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505]),
    ("HTTP/0.9", "GET /health\r\n\r\n", [400]),
    ("two blanks", f"GET  /health HTTP/1.1\r\n{HOST}\r\n", [400]),
    ("a blank before a colon", "GET /health HTTP/1.1\r\nHost : t\r\n\r\n", [400]),
    ("a folded line", HEALTH[:-2] + "X: a\r\n b\r\n\r\n", [400]),
    ("a bare line feed", HEALTH[:-2] + "X: a\n\r\n", [400]),
    ("bare line feeds only", "GET /health HTTP/1.1\nHost: t\n\n", [400]),
    ("a bare carriage return", HEALTH[:-2] + "X: a\rY: b\r\n\r\n", [400]),
    ("a null byte", HEALTH[:-2] + "X: \x00\r\n\r\n", [400]),
    ("two lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello") + HEALTH, [400]),
    ("a length twice", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello") + HEALTH, [400]),
    ("a length that is none", post("Content-Length: +5\r\n", "hello") + HEALTH, [400]),
    ("a length and chunks", post(f"Content-Length: 4\r\n{CHUNKS}", "0\r\n\r\n") + HEALTH, [400]),
    ("chunks and a length", post(f"{CHUNKS}Content-Length: 4\r\n", "0\r\n\r\n") + HEALTH, [400]),
    ("an unknown coding", post("Transfer-Encoding: gzip, chunked\r\n") + HEALTH, [501]),
    ("chunks that are not last", post("Transfer-Encoding: chunked, gzip\r\n") + HEALTH, [400]),
    ("no chunks", post("Transfer-Encoding: identity\r\n", "x") + HEALTH, [400]),
    ("chunks twice", post(CHUNKS * 2, "0\r\n\r\n") + HEALTH, [501]),
    ("hidden chunks", post("Transfer-Encoding:\x0bchunked\r\n", "0\r\n\r\n") + HEALTH, [400]),
    ("chunks in HTTP/1.0", post(CHUNKS, "0\r\n\r\n").replace("1.1", "1.0") + HEALTH, [400]),
    ("a malformed chunk", post(CHUNKS, "x\r\n\r\n") + HEALTH, [400]),
    ("a chunk that is too long", post(CHUNKS, "2\r\nabc\r\n0\r\n\r\n") + HEALTH, [400]),
    ("a large body", post("Content-Length: 1000000\r\n", "x" * 1_000_000) + HEALTH, [413]),
    ("large chunks", post(CHUNKS, "fffff\r\n" + "x" * 1_000_000) + HEALTH, [413]),
    ("a large head", HEALTH[:-2] + "X: " + "x" * 131_072 + "\r\n\r\n" + HEALTH, [431]),
    ("a malformed third request", HEALTH * 2 + "nonsense\r\n\r\n" + HEALTH, [200, 200, 400]),
]  # fmt: skip


class Answer:
    """An answer as a raw client reads it."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.status = int(head[9:12])
        self.head = head
        self.body = body

    def field(self, name: str) -> str | None:
        """The value of a header field."""
        found = re.search(rf"(?mi)^{name}: (.*)\r$", self.head.decode())
        return found[1] if found else None


async def read_answer(client: RawClient, method: str = "GET") -> Answer:
    """Read the next answer, which has a length."""
    answer = Answer(await client.read_head(), b"")
    if method != "HEAD" and answer.status != 100:
        answer.body = await client.read_exactly(int(answer.field("content-length") or 0))
    return answer


async def read_answers(client: RawClient, sent: str, count: int) -> list[Answer]:
    """Read so many answers to what was sent."""
    methods = ["HEAD" if sent.startswith("HEAD") else "GET", *["GET"] * count]
    return [await read_answer(client, methods[number]) for number in range(count)]


@pytest.mark.parametrize(("sent", "statuses"), [row[1:] for row in KEPT], ids=[r[0] for r in KEPT])
async def test_request_is_answered_and_the_connection_kept(
    gateway: Gateway, sent: str, statuses: list[int]
) -> None:
    async with await RawClient.open(gateway.port) as client:
        await client.send(sent.encode("latin-1"))
        answers = await read_answers(client, sent, len(statuses))
        assert [answer.status for answer in answers] == statuses
        assert {answer.field("connection") for answer in answers} == {None}
        assert all(answer.field("date") for answer in answers)
        await client.send(HEALTH.encode())
        assert (await read_answer(client)).body == b'{"status":"ok"}'


@pytest.mark.parametrize(
    ("sent", "statuses"), [row[1:] for row in CLOSED], ids=[row[0] for row in CLOSED]
)
@pytest.mark.parametrize("piece", [None, 1], ids=["at once", "bytewise"])
async def test_request_is_answered_and_the_connection_closed(
    gateway: Gateway, sent: str, statuses: list[int], piece: int | None
) -> None:
    data = sent.encode("latin-1")
    if piece and len(data) > 1_000:
        pytest.skip("byte by byte this takes too long")
    async with await RawClient.open(gateway.port) as client:
        for at in range(0, len(data), piece or len(data)):
            await client.send(data[at : at + (piece or len(data))])
            if piece:
                await asyncio.sleep(0)
        answers = await read_answers(client, sent, len(statuses))
        assert [answer.status for answer in answers] == statuses
        assert answers[-1].field("connection") == "close"
        assert answers[-1].field("date")
        # The end of the connection, and no reset: what still comes is not read as a request.
        assert await client.read_all() == b""


async def test_client_that_expects_100_gets_it_before_its_body(gateway: Gateway) -> None:
    async with await RawClient.open(gateway.port) as client:
        await client.send(post("Expect: 100-continue\r\nContent-Length: 5\r\n").encode())
        assert (await read_answer(client)).status == 100
        await client.send(b"hello" + HEALTH.encode())
        assert [(await read_answer(client)).status for _ in range(2)] == [405, 200]


async def test_client_that_expects_100_is_refused_a_large_body(gateway: Gateway) -> None:
    async with await RawClient.open(gateway.port) as client:
        await client.send(post("Expect: 100-continue\r\nContent-Length: 999999\r\n").encode())
        assert (await read_answer(client)).status == 413
        assert await client.read_all() == b""


async def test_absolute_target_names_the_host(serve: Any) -> None:  # noqa: ANN401 - a fixture
    """RFC 9112, 3.2.2: the Host header is ignored then."""
    gateway = serve()
    sent = f"GET http://a.example:81/asyncapi.json HTTP/1.1\r\n{HOST}\r\n"
    async with await RawClient.open(gateway.port) as client:
        await client.send(sent.encode())
        assert b'"a.example:81"' in (await read_answer(client)).body


@pytest.mark.parametrize("absolute", ["", "http://a.example", "ws://a.example:80"])
async def test_handshake_with_an_absolute_target(
    gateway: Gateway, market: Market, absolute: str
) -> None:
    path = gateway.stream("id", [market.one().contract_id])
    async with await RawClient.stream(gateway, absolute + path):
        pass


@pytest.mark.parametrize("absolute", ["", "http://a.example"])
async def test_events_with_an_absolute_target(
    gateway: Gateway, market: Market, absolute: str
) -> None:
    path = gateway.stream("id", [market.one().contract_id]).replace("/websocket/", "/sse/")
    async with await RawClient.open(gateway.port) as client:
        await client.send(f"GET {absolute}{path} HTTP/1.1\r\n{HOST}\r\n".encode())
        assert (await client.read_head()).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("split", [1, 10, 60])
async def test_handshake_with_persian_letters_in_pieces(gateway: Gateway, split: int) -> None:
    data = handshake(f"/live/data/websocket/contract/name?contract_names={PERSIAN.contract_name}")
    async with await RawClient.open(gateway.port) as client:
        for at in range(0, len(data), split):
            await client.send(data[at : at + split])
            await asyncio.sleep(0)
        assert (await client.read_head()).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Connection: Upgrade", b"Connection: keep-alive\r\nconnection:  upgrade "),
        (b"Connection: Upgrade", b"Connection: keep-alive, Upgrade"),
        (b"Upgrade: websocket", b"Upgrade: h2c\r\nUpgrade:\tWebSocket"),
        (b"Upgrade: websocket", b"UPGRADE: h2c ,websocket,"),
        (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version:13\t "),
        (b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key:\t  "),
    ],
)
async def test_handshake_fields_are_lists_and_blanks_do_not_count(
    gateway: Gateway, market: Market, old: bytes, new: bytes
) -> None:
    request = handshake(gateway.stream("id", [market.one().contract_id]))
    assert old in request
    async with await RawClient.open(gateway.port) as client:
        await client.send(request.replace(old, new, 1))
        assert (await client.read_head()).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("version", [b"8", b"13, 8", b""])
async def test_handshake_of_a_wrong_version_gets_the_right_one(
    gateway: Gateway, market: Market, version: bytes
) -> None:
    request = handshake(gateway.stream("id", [market.one().contract_id]))
    async with await RawClient.open(gateway.port) as client:
        await client.send(request.replace(b"-Version: 13", b"-Version: " + version))
        answer = await read_answer(client)
    assert (answer.status, answer.field("Sec-WebSocket-Version")) == (400, "13")


@pytest.mark.parametrize("count", [1, 30])
async def test_frames_in_the_packet_of_the_handshake_are_answered(
    gateway: Gateway, market: Market, count: int
) -> None:
    request = handshake(gateway.stream("id", [market.one().contract_id]))
    pings = b"".join(frame_bytes(0x9, b"%d" % number) for number in range(count))
    async with await RawClient.open(gateway.port) as client:
        await client.send(request + pings)
        assert (await client.read_head()).startswith(b"HTTP/1.1 101 ")
        for number in range(count):
            frame = await client.frame()
            assert (frame.opcode, frame.payload) == (0xA, b"%d" % number)


async def test_handshake_behind_other_requests(gateway: Gateway, market: Market) -> None:
    request = handshake(gateway.stream("id", [market.one().contract_id]))
    async with await RawClient.open(gateway.port) as client:
        await client.send(HEALTH.encode() * 3 + request + frame_bytes(0x9, b"hello"))
        assert [(await read_answer(client)).status for _ in range(3)] == [200] * 3
        assert (await client.read_head()).startswith(b"HTTP/1.1 101 ")
        assert (await client.frame()).payload == b"hello"


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_handshake_on_a_path_of_events_is_400(
    gateway: Gateway, market: Market, method: bytes
) -> None:
    path = gateway.stream("id", [market.one().contract_id]).replace("/websocket/", "/sse/")
    async with await RawClient.open(gateway.port) as client:
        await client.send(handshake(path).replace(b"GET", method) + frame_bytes(0x9))
        answer = await read_answer(client)
        assert answer.status == 400
        assert answer.body.startswith(b"This is a stream of server-sent events: ")
        assert await client.read_all() == b""


# A client that closes its half


@pytest.mark.parametrize("path", ["/health", "/ready", "/live/status", "/metrics", "/nothing"])
async def test_half_closed_client_gets_its_answer(gateway: Gateway, path: str) -> None:
    sent = f"GET {path} HTTP/1.1\r\n{HOST}\r\n"
    async with await RawClient.open(gateway.port) as client:
        await client.send(sent.encode() * 2)
        client.end()
        status = 404 if path == "/nothing" else 200
        assert [(await read_answer(client)).status for _ in range(2)] == [status] * 2
        assert await client.read_all() == b""


async def test_half_closed_client_gets_the_refusal_of_events(gateway: Gateway) -> None:
    path = "/live/data/sse/contract/name?contract_names=NOPE"
    async with await RawClient.open(gateway.port) as client:
        await client.send(f"GET {path} HTTP/1.1\r\n{HOST}\r\n".encode())
        client.end()
        assert (await read_answer(client)).status == 404
        assert await client.read_all() == b""


@pytest.mark.parametrize("kind", ["websocket", "sse"])
async def test_half_closed_client_has_left_its_stream(
    gateway: Gateway, market: Market, kind: str
) -> None:
    path = gateway.stream("id", [market.one().contract_id]).replace("websocket", kind)
    request = handshake(path)
    if kind == "sse":
        request = f"GET {path} HTTP/1.1\r\n{HOST}\r\n".encode()
    before = gateway.metric("connections")
    async with await RawClient.open(gateway.port) as client:
        await client.send(request)
        await client.read_head()
        assert gateway.metric("connections") == before + 1
        client.end()
        await client.read_all()
    assert gateway.metric("connections") == before


async def test_reset_before_the_answer_leaves_nothing_behind(gateway: Gateway) -> None:
    for _ in range(50):
        client = await RawClient.open(gateway.port)
        await client.send(b"GET /live/status HTTP/1.1\r\nHost: t\r\n\r\n" * 20)
        client.reset()
    assert gateway.get("/health").status == 200
    assert not [line for line in gateway.log if line["level"] == "error"]


async def test_refused_request_is_logged_once_per_kind(serve: Any) -> None:  # noqa: ANN401
    gateway = serve()
    for _ in range(5):
        async with await RawClient.open(gateway.port) as client:
            await client.send(b"GET /a?token=secret HTTP/1.1\r\n\r\n")
            assert (await read_answer(client)).status == 400
    [line] = await gateway.logged("request refused")
    assert line["reason"] == "An HTTP/1.1 request must have a Host header, got none."
    assert "secret" not in gateway.output
