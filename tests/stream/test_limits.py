"""Limits of a gateway on real sockets: the refusal, its metric, and the place that is free."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from ime_live.gateway.auth.tokens import create_token
from ime_live.publisher import Publisher
from tests.stream.conftest import SECRET, Market, Serve
from tests.support.gateways import PATIENCE, Gateway, RawClient, closed, handshake, receive
from tests.support.payloads import payload

EVENTS = "/live/data/sse/contract/id?contract_id="


@pytest.fixture(scope="module")
def limited(_serve_all: Serve) -> Gateway:
    """A gateway with small limits, behind proxies on this machine."""
    return _serve_all(
        auth="jwt",
        variables={"IME_LIVE_JWT_SECRET": SECRET},
        trusted_proxies="127.0.0.1",
        stream_origins="https://example.org",
        max_connections=6,
        max_subject_connections=3,
        max_address_connections=2,
        max_contracts=3,
        handshake_rate=2,
    )


class Visitor:
    """Asks for streams as a proxy does for somebody."""

    def __init__(self, gateway: Gateway, path: str) -> None:
        self.gateway = gateway
        self.path = path

    async def ask(self, address: str, subject: str = "", headers: Sequence[str] = ()) -> RawClient:
        """Open a stream; ``head`` of the client has the answer."""
        client = await RawClient.open(self.gateway.port)
        token = create_token(SECRET, subject or address, 1, now=time.time())
        fields = [f"X-Forwarded-For: {address}", f"Authorization: {token}", *headers]
        await client.send(handshake(self.path, fields))
        client.head = await client.read_head()
        return client

    async def opened(self, address: str, subject: str = "") -> RawClient:
        """Open a stream once there is a place for it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                client = await self.ask(address, subject)
                if b" 101 " in client.head:
                    return client
                client.close()
                await asyncio.sleep(0.6)


@pytest.fixture
def visitor(limited: Gateway, market: Market) -> Visitor:
    return Visitor(limited, limited.stream("id", [market.one().contract_id]))


def status_of(client: RawClient) -> bytes:
    return client.head.split(b" ", 2)[1]


async def until_free(gateway: Gateway) -> None:
    async with asyncio.timeout(PATIENCE):
        while gateway.metric("connections"):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)


def check_refused(client: RawClient, status: bytes, gateway: Gateway, reason: str) -> None:
    assert status_of(client) == status, client.head
    assert b"\r\nretry-after: " in client.head.lower()
    assert gateway.metric("connections_refused_total", reason=reason) > 0


async def test_limit_of_an_address_refuses_with_429_until_a_place_is_free(
    visitor: Visitor,
) -> None:
    first = await visitor.opened("203.0.113.1")
    second = await visitor.opened("203.0.113.1")
    third = await visitor.ask("198.51.100.9, 203.0.113.1")  # the first element is the client's
    check_refused(third, b"429", visitor.gateway, "address")
    assert b"too many connections from this address: at most 2" in await third.read_all()
    other = await visitor.opened("203.0.113.2")
    assert status_of(other) == b"101"
    first.reset()  # an abnormal end
    again = await visitor.opened("203.0.113.1")
    for each in (second, third, other, again):
        each.close()
    await until_free(visitor.gateway)


async def test_limit_of_a_subject_refuses_with_429_before_the_upgrade(visitor: Visitor) -> None:
    clients = [await visitor.opened(f"203.0.113.{n}", "alice") for n in (11, 12, 13)]
    refused = await visitor.ask("203.0.113.14", "alice")
    check_refused(refused, b"429", visitor.gateway, "subject")
    clients.append(await visitor.opened("203.0.113.14", "bob"))
    clients[0].end()
    clients.append(await visitor.opened("203.0.113.15", "alice"))
    for each in (*clients, refused):
        each.close()
    await until_free(visitor.gateway)


async def test_limit_of_all_streams_refuses_with_503(visitor: Visitor) -> None:
    clients = [await visitor.opened(f"203.0.113.{n}") for n in range(21, 27)]
    refused = await visitor.ask("203.0.113.27")
    check_refused(refused, b"503", visitor.gateway, "connections")
    # A stream of events is refused alike; a browser would give up at any status but 200.
    contract = visitor.path.partition("contract_id=")[2]
    answer = visitor.gateway.get(EVENTS + contract)
    assert (answer.status, "Retry-After" in answer.headers) == (503, True)
    assert answer.json() == {"detail": "too many connections"}
    reader = visitor.gateway.request("GET", EVENTS + contract, {"Accept": "text/event-stream"})
    assert reader.status == 200
    assert b'event: end\ndata: {"code":1013,"reason":"too many connections"}' in reader.body
    assert visitor.gateway.get("/health").status == 200
    for each in (*clients, refused):
        each.close()
    await until_free(visitor.gateway)
    for each in [await visitor.opened(f"203.0.113.{n}") for n in range(31, 37)]:
        each.close()
    await until_free(visitor.gateway)


async def test_handshake_rate_per_address_is_refused_with_retry_after(visitor: Visitor) -> None:
    statuses = []
    for _ in range(13):
        client = await visitor.ask("2001:db8::7", headers=["Sec-WebSocket-Protocol: ime-live"])
        statuses.append(status_of(client))
        if statuses[-1] == b"429":
            check_refused(client, b"429", visitor.gateway, "rate")
            assert b"retry-after: 1\r\n" in client.head.lower()
        client.close()
        await until_free(visitor.gateway)
    assert b"429" in statuses
    neighbour = await visitor.ask("2001:db8:0:9::1")
    assert status_of(neighbour) == b"101"
    neighbour.close()
    await until_free(visitor.gateway)


async def test_origin_that_is_not_listed_is_refused_with_403(visitor: Visitor) -> None:
    refused = await visitor.ask("203.0.113.41", headers=["Origin: https://example.com"])
    assert status_of(refused) == b"403"
    assert await refused.read_all() == b"origin not allowed"
    assert visitor.gateway.metric("connections_refused_total", reason="origin") == 1
    listed = await visitor.ask("203.0.113.41", headers=["Origin: https://example.org"])
    assert status_of(listed) == b"101"
    for each in (refused, listed):
        each.close()
    await until_free(visitor.gateway)


async def test_bad_token_and_too_many_contracts_are_closed_with_1008(
    limited: Gateway, market: Market
) -> None:
    ids = [each.contract_id for each in market.take(4)]
    token = create_token(SECRET, "carol", 1, now=time.time())
    async with limited.by_id(*ids, token=token) as client:
        close = await closed(client)
    assert (close.code, close.reason) == (1008, "too many contracts: 4, at most 3")
    async with limited.by_id(ids[0], token="no token") as client:
        close = await closed(client)
    assert (close.code, close.reason) == (1008, "invalid token")
    assert limited.metric("connections_refused_total", reason="contracts") == 1
    assert limited.metric("connections_refused_total", reason="authentication") == 1


async def test_spoofed_addresses_count_nothing_without_trusted_proxies(
    gateway: Gateway, market: Market
) -> None:
    contract = market.one()
    before = gateway.metric("connections_refused_total", reason="address")
    header = {"X-Forwarded-For": ", ".join(["203.0.113.1"] * 8_000)}
    path = gateway.stream("id", [contract.contract_id])
    async with gateway.connect(path, additional_headers=header):
        pass
    assert gateway.metric("connections_refused_total", reason="address") == before


async def test_limit_of_unsent_memory_ends_slow_clients_only(
    serve: Serve, market: Market, publisher: Publisher
) -> None:
    gateway = serve(max_waiting=100_000, send_buffer=8192, unsent_limit=0, compression=False)
    contracts = market.take(400)
    ids = [each.contract_id for each in contracts]
    async with gateway.by_id(ids[0]) as good:
        for each in contracts:
            await publisher.publish(each.contract_id, payload())
        path = gateway.stream("id", ids, snapshot="true")
        slow = [await RawClient.stream(gateway, path, receive_buffer=4096) for _ in range(3)]
        async with asyncio.timeout(PATIENCE):
            while not gateway.events("stream closed"):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)
        ended = gateway.events("stream closed")
        assert {(each["code"], each["reason"]) for each in ended} == {(1013, "too slow")}
        await publisher.publish(ids[0], payload(77))
        assert (await receive(good))["ContractId"] == ids[0]
        for client in slow:
            client.close()
        async with asyncio.timeout(PATIENCE):
            while gateway.metric("waiting_bytes"):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)
        async with gateway.by_id(ids[1]):
            pass
