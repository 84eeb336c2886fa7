"""HTTP: health, readiness, and clear answers to requests that are none."""

from __future__ import annotations

import contextlib

import pytest

from tests.stream.conftest import Market
from tests.support.gateways import Gateway, RawClient, handshake


def test_health_and_ready_are_200_while_redis_answers(gateway: Gateway) -> None:
    assert gateway.get("/health").json() == {"status": "ok"}
    ready = gateway.get("/ready")
    assert ready.status == 200
    assert ready.json()["ready"] is True
    assert ready.json()["redis"] is True
    assert ready.json()["contracts"] > 1000


@pytest.mark.parametrize("by", ["name", "id"])
def test_plain_get_of_a_stream_is_426(gateway: Gateway, by: str) -> None:
    answer = gateway.get(gateway.stream(by, ["KASH0001"]))
    assert answer.status == 426
    assert answer.headers["Upgrade"] == "websocket"
    assert "WebSocket" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/live/data/websocket/contract/isin?contract_id=1", 404),
        ("POST", "/health", 405),
        ("DELETE", "/live/data/websocket/contract/name", 405),
    ],
)
def test_unsupported_requests_are_refused_in_json(
    gateway: Gateway, method: str, path: str, status: int
) -> None:
    answer = gateway.request(method, path)
    assert answer.status == status
    assert set(answer.json()) == {"detail"}


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"HELLO\r\n\r\n",
        b"\x16\x03\x01\x02\x00" * 20,
        b"GET / FTP/9\r\n\r\n",
    ],
)
async def test_malformed_request_is_400(gateway: Gateway, garbage: bytes) -> None:
    async with await RawClient.open(gateway.port) as client:
        await client.send(garbage)
        answer = await client.read_all()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Traceback" not in answer


@pytest.mark.parametrize("size", [10_000, 1_000_000])
async def test_oversize_head_is_431(hasty: Gateway, size: int) -> None:
    request = handshake(hasty.stream("name", ["X" * size]))
    async with await RawClient.open(hasty.port) as client:
        with contextlib.suppress(ConnectionError):
            await client.send(request)
        answer = await client.read_all()
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_head_that_exceeds_the_limit_with_its_last_part_is_431(hasty: Gateway) -> None:
    request = handshake(hasty.stream("id", ["12345"]), ["X-Filler: " + "x" * 8192])
    async with await RawClient.open(hasty.port) as client:
        await client.send(request[:4000])
        await client.send(request[4000:])
        assert (await client.read_all()).startswith(b"HTTP/1.1 431 ")


async def test_endless_request_line_is_431(hasty: Gateway) -> None:
    async with await RawClient.open(hasty.port) as client:
        await client.send(b"GET /")
        for _ in range(9):
            await client.send(b"x" * 1000)
        assert (await client.read_all()).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("start", [b"", b"GET /health HTTP/1.1\r\nHost: t\r\n"])
async def test_slow_request_times_out(hasty: Gateway, start: bytes) -> None:
    async with await RawClient.open(hasty.port) as client:
        await client.send(start)
        assert (await client.read_all()).startswith(b"HTTP/1.1 408 ")


async def test_slow_second_request_of_a_connection_times_out(hasty: Gateway) -> None:
    async with await RawClient.open(hasty.port) as client:
        await client.send(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\nGET /health HTTP/1.1\r\n")
        assert (await client.read_head()).startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 408 " in await client.read_all()


async def test_missing_body_is_408(hasty: Gateway) -> None:
    async with await RawClient.open(hasty.port) as client:
        await client.send(b"POST /health HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nx")
        assert (await client.read_all()).startswith(b"HTTP/1.1 408 ")


async def test_keep_alive_connection_serves_several_requests(
    gateway: Gateway, market: Market
) -> None:
    async with await RawClient.open(gateway.port) as client:
        for _ in range(3):
            await client.send(b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n")
            assert (await client.read_head()).startswith(b"HTTP/1.1 200 ")
            assert (await client.read_exactly(15)) == b'{"status":"ok"}'
        await client.send(handshake(gateway.stream("id", [market.one().contract_id])))
        assert (await client.read_head()).startswith(b"HTTP/1.1 101 ")
