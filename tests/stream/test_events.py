"""Server-sent events: the same messages as on a WebSocket, by plain HTTP."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from msgspec import Struct

from ime_live.publisher import Publisher
from tests.stream.conftest import Market, Serve
from tests.stream.test_authentication import token
from tests.support.gateways import PATIENCE, Gateway, RawClient, receive

Payload = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]

ROOT = "/live/data/sse/contract/"


class Event(Struct):
    """An event as a client sees it."""

    name: str = "message"
    id: str = ""
    data: str = ""
    comments: int = 0
    """Lines of comment that came before it."""

    def json(self) -> dict[str, Any]:
        """The decoded data."""
        decoded: dict[str, Any] = json.loads(self.data)
        return decoded


class Events:
    """A stream of events, read as the HTML Standard says (9.2.6)."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()
        self.retry = 0

    async def next(self) -> Event:
        """The next event; raises EOFError at the end."""
        event = Event()
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                field, _, value = line.partition(": ")
                if line.startswith(":"):
                    event.comments += 1
                elif field == "event":
                    event.name = value
                elif field == "id":
                    event.id = value
                elif field == "data":
                    event.data += value
                elif field == "retry":
                    self.retry = int(value)
                elif not line and event.data:
                    return event
        raise EOFError


@asynccontextmanager
async def events(gateway: Gateway, path: str, **headers: str) -> AsyncIterator[Events]:
    """Open a stream of events."""
    async with (
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client,
        client.stream(
            "GET",
            f"http://127.0.0.1:{gateway.port}{path}",
            headers=[(name.encode(), value.encode()) for name, value in headers.items()],
        ) as answer,
    ):
        yield Events(answer)


def path_of(gateway: Gateway, by: str, *names: str, **parameters: str) -> str:
    """The path and query of a stream of events."""
    return gateway.stream(by, names, **parameters).replace("/websocket/", "/sse/")


@pytest.mark.parametrize("by", ["name", "id"])
async def test_sse_has_the_same_messages_as_a_websocket(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload, by: str
) -> None:
    contract = market.one()
    name = contract.contract_name if by == "name" else contract.contract_id
    stream = gateway.stream(by, [name])
    async with (
        gateway.connect(stream) as client,
        events(gateway, path_of(gateway, by, name)) as read,
    ):
        assert read.response.status_code == 200
        assert read.response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert read.response.headers["Cache-Control"] == "no-store"
        assert "Date" in read.response.headers
        for count in range(3):
            await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": count}))
            event = await read.next()
            assert event.data == await client.recv()
            assert (event.name, event.id) == ("message", event.json()["timestamp"])
        assert 1000 <= read.retry <= 4000


async def test_reconnect_with_last_event_id_resumes_without_duplicates(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    first, second, third = market.take(3)
    ids = [contract.contract_id for contract in (first, second, third)]
    path = path_of(gateway, "id", *ids, snapshot="true")
    for contract in (first, second):
        await publisher.publish(contract.contract_id, payload())
    async with events(gateway, path) as read:
        assert [(await read.next()).json()["ContractId"] for _ in range(2)] == ids[:2]
        await publisher.publish(second.contract_id, payload(Aggregate={"trade_count": 5}))
        last = await read.next()
    for count in (6, 7):
        await publisher.publish(third.contract_id, payload(Aggregate={"trade_count": count}))
    await publisher.publish(first.contract_id, payload(Aggregate={"trade_count": 8}))
    async with events(gateway, path, **{"Last-Event-ID": last.id}) as read:
        got = [(await read.next()).json() for _ in range(2)]
        assert [
            (message["ContractId"], message["data"]["Aggregate"]["trade_count"]) for message in got
        ] == [(third.contract_id, 7), (first.contract_id, 8)]
        await publisher.publish(second.contract_id, payload(Aggregate={"trade_count": 9}))
        assert (await read.next()).json()["ContractId"] == second.contract_id


async def test_throttled_state_is_not_lost_over_a_reconnect(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    first, second = market.take(2)
    path = path_of(gateway, "id", first.contract_id, second.contract_id, max_rate="0.01")
    async with events(gateway, path) as read:
        await publisher.publish(first.contract_id, payload())
        before = await read.next()
        await publisher.publish(first.contract_id, payload(Aggregate={"trade_count": 2}))
        await publisher.publish(second.contract_id, payload(Aggregate={"trade_count": 3}))
        # An older event is still to come, so a reader must not resume from this one.
        assert (await read.next()).id == ""
    async with events(gateway, path, **{"Last-Event-ID": before.id}) as read:
        got = [(await read.next()).json()["data"]["Aggregate"]["trade_count"] for _ in range(2)]
    assert got == [2, 3]


def _answers(gateway: Gateway) -> bool:
    try:
        return gateway.get("/health").status == 200
    except OSError:
        return False


async def test_temporary_refusal_does_not_end_a_browsers_reconnects(
    serve: Serve, eventually: Eventually
) -> None:
    gateway = serve("redis://127.0.0.1:1", ready=False).when_listening()
    await eventually(lambda: _answers(gateway), timeout=PATIENCE)
    path = path_of(gateway, "name", "A")
    answer = gateway.get(path)
    assert (answer.status, answer.json()) == (503, {"detail": "contracts are not loaded yet"})
    async with events(gateway, path, Accept="text/event-stream") as read:
        assert read.response.status_code == 200
        event = await read.next()
        assert event.name == "end"
        assert event.json() == {"code": 1013, "reason": "contracts are not loaded yet"}
        assert read.retry >= 1000
        with pytest.raises(EOFError):
            await read.next()


async def test_sse_supports_all_delivery_options(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    await publisher.publish(contract.contract_id, payload())
    path = path_of(
        gateway,
        "name",
        contract.contract_name,
        snapshot="true",
        sections="ContractInfo",
        skipped="true",
        max_rate="0.01",
        status="true",
    )
    async with events(gateway, path) as read:
        event = await read.next()
        assert event.json()["skipped"] == 0
        assert event.json()["data"] == {"ContractInfo": payload()["ContractInfo"]}
        status = await read.next()
        assert status.json()["channel"] == "IME Status"
        # Only states of contracts are resume points.
        assert status.id == ""
        assert status.json()["data"]["contracts"] == {contract.contract_name: event.id}


@pytest.mark.parametrize(
    ("query", "status", "detail"),
    [
        ("name?contract_names=NOPE", 404, "unknown contract: NOPE"),
        ("id?contract_ids=0", 404, "unknown contract: 0"),
        ("name", 422, "no contract: name at least one with contract_names="),
        ("id?contract_id=1&since=x", 422, "since is not an ISO 8601 time: x"),
        ("id?contract_id=1&max_rate=0", 422, "max_rate is not a number from 0.01 to 1000: 0"),
    ],
)
def test_sse_refusals_are_http_responses(
    gateway: Gateway, query: str, status: int, detail: str
) -> None:
    answer = gateway.get(ROOT + query)
    assert (answer.status, answer.json()) == (status, {"detail": detail})
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("last", ["yesterday", "0", "2026-13-01T00:00:00", "9999-12-31", "ي"])
@pytest.mark.parametrize("query", [{}, {"since": "2999-01-01T00:00:00"}])
async def test_last_event_id_that_cannot_be_read_gets_a_snapshot(
    gateway: Gateway,
    market: Market,
    publisher: Publisher,
    payload: Payload,
    last: str,
    query: dict[str, str],
) -> None:
    contract = market.one()
    await publisher.publish(contract.contract_id, payload())
    path = path_of(gateway, "id", contract.contract_id, **query)
    async with events(gateway, path, **{"Last-Event-ID": last}) as read:
        assert read.response.status_code == 200
        assert (await read.next()).json()["ContractId"] == contract.contract_id


async def test_repeated_fields_are_read_as_on_a_websocket(guarded: Gateway, market: Market) -> None:
    """The first token counts, of whatever kind the request is."""
    contract_id = market.one().contract_id
    paths = [
        path_of(guarded, "id", contract_id),
        f"/live/data/aggregate/contract/id?contract_id={contract_id}",
        "/live/status",
    ]
    for good in (True, False):
        values = ["Bearer " + (token() if good == first else "bad") for first in (True, False)]
        fields = [f"Authorization: {value}" for value in values]
        fields += ["Origin: https://a.example", "Origin: null", "Accept: a", "Accept: b"]
        for path in paths:
            request = "\r\n".join([f"GET {path} HTTP/1.1", "Host: t", *fields, "", ""])
            async with await RawClient.open(guarded.port) as client:
                await client.send(request.encode())
                expected = b"HTTP/1.1 200 " if good else b"HTTP/1.1 401 "
                assert (await client.read_head()).startswith(expected), path
        stream = guarded.stream("id", [contract_id])
        async with await RawClient.stream(guarded, stream, fields) as client:
            frame = await client.frame()
            assert (frame.opcode == 0x9) is good  # a ping, or a close


async def test_keep_alive_comments_make_no_empty_events(
    hasty: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    """Some clients make an empty event of each blank line."""
    contract = market.one()
    path = path_of(hasty, "id", contract.contract_id)
    async with await RawClient.open(hasty.port) as client:
        await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await client.read_head()
        text = await client.read_exactly(len(b"retry: 1234\n:\n:\n"))
        await publisher.publish(contract.contract_id, payload())
        while b"\n\n" not in text:
            text += await client.read_exactly(1)
    *fields, data = text.removesuffix(b"\n\n").split(b"\n")
    assert fields[0].startswith(b"retry: ")
    assert fields[-1].startswith(b"id: ")
    assert set(fields[1:-1]) == {b":"}
    assert json.loads(data.removeprefix(b"data: "))["ContractId"] == contract.contract_id


def test_sse_accepts_and_refuses_tokens(guarded: Gateway, market: Market) -> None:
    seen, unseen = market.take(2)
    path = path_of(guarded, "id", seen.contract_id)
    answer = guarded.get(path)
    assert (answer.status, answer.json()) == (401, {"detail": "authentication required"})
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    limited = token(contracts=[seen.contract_name])
    answer = guarded.request(
        "GET", path_of(guarded, "id", unseen.contract_id), {"Authorization": f"Bearer {limited}"}
    )
    assert answer.status == 403
    assert answer.json()["detail"].startswith("contract not covered by the token: ")


@pytest.mark.parametrize("place", ["header", "bare header", "query"])
async def test_expired_token_ends_the_event_stream(
    guarded: Gateway, market: Market, place: str
) -> None:
    contract_id = market.one().contract_id

    async def kept_alive(seconds: float) -> bool:
        """Whether a stream of so many seconds was kept alive until its end."""
        short = token(seconds)
        path = path_of(guarded, "id", contract_id, **({"token": short} if place == "query" else {}))
        value = {"header": f"Bearer {short}", "bare header": short}.get(place)
        async with events(guarded, path, **({"Authorization": value} if value else {})) as read:
            event = await read.next()
            assert (event.name, event.id) == ("end", "")
            assert event.json() == {"code": 1008, "reason": "token expired"}
            with pytest.raises(EOFError):
                await read.next()
        assert short not in guarded.output
        return event.comments >= 1

    # On a slow machine, little of a second may be left when the stream begins.
    assert await kept_alive(1.0) or await kept_alive(8.0)


async def test_slow_reader_gets_the_newest_state_and_delays_no_client(
    gateway: Gateway,
    market: Market,
    publisher: Publisher,
    payload: Payload,
    eventually: Eventually,
) -> None:
    ids = [contract.contract_id for contract in market.take(5)]
    conflated = gateway.metric("conflated_total")
    async with (
        await RawClient.open(gateway.port, receive_buffer=4096) as slow,
        gateway.by_id(*ids) as fast,
    ):
        path = path_of(gateway, "id", *ids)
        await slow.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await slow.read_head()
        last = 0
        while gateway.metric("conflated_total") - conflated < 100:
            for _ in range(20):
                last += 1
                await publisher.publish_many(
                    (i, payload(Aggregate={"trade_count": last})) for i in ids
                )
                for _ in ids:
                    await receive(fast)
        counts: dict[str, int] = {}
        text = b""
        while len(counts) < len(ids) or set(counts.values()) != {last}:
            text += await slow.read_exactly(1)
            if text.endswith(b"\n\n"):
                data = text.decode().partition("data: ")[2]
                text = b""
                if data:
                    message = json.loads(data)
                    count = message["data"]["Aggregate"]["trade_count"]
                    assert count > counts.get(message["ContractId"], 0)
                    counts[message["ContractId"]] = count


async def test_sse_sends_keep_alives_behind_a_root_path(hasty: Gateway, market: Market) -> None:
    path = path_of(hasty, "id", market.one().contract_id)
    for prefix in ("", "/data-engine/ime"):
        async with await RawClient.open(hasty.port) as client:
            await client.send(f"GET {prefix}{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert (await client.read_head()).startswith(b"HTTP/1.1 200 OK\r\n")
            await client.read_exactly(len(b"retry: 1234\n"))
            # Longer than a client may take to answer a ping: this one need not.
            assert await client.read_exactly(8) == b":\n" * 4
            client.reset()


@pytest.mark.parametrize(("origin", "allowed"), [("https://a.example", True), ("null", False)])
async def test_sse_allows_pages_of_cors_origins(
    serve: Serve, market: Market, origin: str, allowed: bool
) -> None:
    gateway = serve(cors_origins="https://a.example")
    path = path_of(gateway, "id", market.one().contract_id)
    async with events(gateway, path, Origin=origin) as read:
        shared = read.response.headers.get("Access-Control-Allow-Origin")
        assert shared == (origin if allowed else None)
        assert read.response.headers["Vary"] == "Origin"


async def test_sse_is_counted_in_metrics(
    serve: Serve, market: Market, publisher: Publisher, payload: Payload, eventually: Eventually
) -> None:
    gateway, contract = serve(), market.one()
    async with events(gateway, path_of(gateway, "id", contract.contract_id)) as read:
        await publisher.publish(contract.contract_id, payload())
        await read.next()
        assert gateway.metric("connections") == 1
        assert gateway.metric("deliveries_total") == 1
    await eventually(lambda: gateway.metric("connections") == 0)
    assert gateway.metric("connections_closed_total", code="1000", reason="client left") == 1
    assert gateway.get(path_of(gateway, "id", "0")).status == 404
    assert gateway.metric("connections_closed_total", code="1008", reason="unknown contract") == 1
    [opened] = await gateway.logged("stream opened")
    assert (opened["over"], opened["by"], opened["count"]) == ("events", "id", 1)


async def test_sse_ends_at_shutdown(serve: Serve, market: Market) -> None:
    gateway = serve()
    async with events(gateway, path_of(gateway, "id", market.one().contract_id)) as read:
        gateway.signal(signal.SIGTERM)
        event = await read.next()
        assert (event.name, event.json()) == ("end", {"code": 1001, "reason": "going away"})
        with pytest.raises(EOFError):
            await read.next()
    assert await gateway.ended() == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_sse_refuses_other_methods(gateway: Gateway, market: Market, method: str) -> None:
    answer = gateway.request(method, path_of(gateway, "id", market.one().contract_id))
    assert answer.status == 405
    assert "detail" in answer.json()


async def test_sse_ignores_requests_pipelined_behind_it(gateway: Gateway, market: Market) -> None:
    """A stream has no end, so no response can follow it."""
    path = path_of(gateway, "id", market.one().contract_id)
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    async with await RawClient.open(gateway.port) as client:
        await client.send(request + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await client.read_head()
        assert b"connection: close" in head.lower()
        client.end()
        assert (await client.read_all()).startswith(b"retry: ")


async def test_sse_behind_a_pipelined_request_begins_after_its_answer(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    path = path_of(gateway, "id", contract.contract_id)
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    async with await RawClient.open(gateway.port) as client:
        await client.send(b"GET /live/status HTTP/1.1\r\nHost: x\r\n\r\n" + request)
        head = await client.read_head()
        [length] = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-l")]
        await client.read_exactly(int(length.split()[1]))
        assert (await client.read_head()).startswith(b"HTTP/1.1 200 ")
        await publisher.publish(contract.contract_id, payload())
        await client.read_exactly(len(b"retry: 1234\nid: "))
