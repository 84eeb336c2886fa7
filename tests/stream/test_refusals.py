"""Refusals: close codes, reasons and HTTP responses of streams that cannot begin."""

from __future__ import annotations

import pytest

from tests.stream.conftest import Market
from tests.support.gateways import Gateway, RawClient, closed, handshake


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("name?contract_names=XYZ", "unknown contract: XYZ"),
        ("id?contract_id=999999", "unknown contract: 999999"),
        ("name?contract_names=%D8%B3%DA%A9%D9%87", "unknown contract: سکه"),
        ("name", "no contract: name at least one with contract_names="),
        ("name?", "no contract: name at least one with contract_names="),
        ("id?contract_id=", "no contract: name at least one with contract_id="),
        ("id?contract_names=KASH0001", "no contract: name at least one with contract_id="),
        ("name?contract_names=" + "X" * 500, "unknown contract: " + "X" * 102 + "…"),
        ("name?contract_names=a%00%0Ab", "unknown contract: a??b"),
        ("name?contract_names=%ff%fe", "unknown contract: \ufffd\ufffd"),
    ],
)
async def test_refused_client_gets_close_code_1008_and_the_close_reason(
    gateway: Gateway, path: str, reason: str
) -> None:
    async with gateway.connect("/live/data/websocket/contract/" + path) as client:
        assert client.response is not None
        assert client.response.status_code == 101
        close = await closed(client)
    assert (close.code, close.reason) == (1008, reason)


async def test_unknown_contract_among_known_ones_is_refused(
    gateway: Gateway, market: Market
) -> None:
    async with gateway.by_name(market.one().contract_name, "XYZ") as client:
        close = await closed(client)
    assert (close.code, close.reason) == (1008, "unknown contract: XYZ")


async def test_more_contracts_than_allowed_are_refused(gateway: Gateway, market: Market) -> None:
    ids = [contract.contract_id for contract in market.contracts[-1001:]]
    async with gateway.by_id(*ids) as client:
        close = await closed(client)
    assert (close.code, close.reason) == (1008, "too many contracts: 1001, at most 1000")


async def test_refused_client_leaves_no_subscription(gateway: Gateway, market: Market) -> None:
    before = gateway.metric("connections"), gateway.metric("contracts_subscribed")
    async with gateway.by_name(market.one().contract_name, "XYZ") as client:
        await closed(client)
    assert (gateway.metric("connections"), gateway.metric("contracts_subscribed")) == before


async def test_refused_handshake_ends_with_the_connection(gateway: Gateway) -> None:
    path = gateway.stream("name", ["XYZ"])
    async with await RawClient.stream(gateway, path) as client:
        frame = await client.frame()
        assert frame.first == 0x88
        assert frame.close.code == 1008
        await client.send(
            b"\x88\x82\x00\x00\x00\x00\x03\xf0"
        )  # the response is a close frame with 1008
        assert await client.read_all() == b""


async def test_unknown_path_is_404_also_for_an_upgrade(gateway: Gateway) -> None:
    for path in ("/", "/live/data/websocket/contract/", "/live/data/websocket/contract/isin"):
        async with await RawClient.open(gateway.port) as client:
            await client.send(handshake(path))
            assert (await client.read_all()).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"Sec-WebSocket-Key: ", b"X-Other: ", 400),
        (b"Sec-WebSocket-Key: ", b"Sec-WebSocket-Key: short", 400),
        (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Version: 8", 400),
        (b"Connection: Upgrade", b"Connection: close", 426),
        (b"GET ", b"POST ", 405),
    ],
)
async def test_malformed_handshake_gets_an_http_response(
    gateway: Gateway, old: bytes, new: bytes, status: int
) -> None:
    request = handshake(gateway.stream("name", ["KASH0001"])).replace(old, new)
    async with await RawClient.open(gateway.port) as client:
        await client.send(request)
        answer = await client.read_head()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"Traceback" not in answer
