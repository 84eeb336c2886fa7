"""Keepalive: pings, and what a client that is there may send."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from ime_live.publisher import Publisher
from tests.stream.conftest import Market
from tests.support.gateways import PATIENCE, Gateway, RawClient, closed, frame_bytes, receive

Payload = Callable[..., dict[str, Any]]

TEXT, BINARY, CONTINUATION, PING, PONG = 0x1, 0x2, 0x0, 0x9, 0xA


async def test_heartbeat_pings_clients_at_the_interval(hasty: Gateway, market: Market) -> None:
    path = hasty.stream("id", [market.one().contract_id])
    async with await RawClient.stream(hasty, path) as client:
        for _ in range(4):
            assert (await client.frame()).first == 0x80 | PING
            await client.send(frame_bytes(PONG))


async def test_heartbeat_drops_a_client_without_pong(hasty: Gateway, market: Market) -> None:
    path = hasty.stream("id", [market.one().contract_id])
    async with await RawClient.stream(hasty, path) as client:
        frames = [await client.frame()]
        while frames[-1].opcode == PING:
            frames.append(await client.frame())
        assert (frames[-1].close.code, frames[-1].close.reason) == (
            1011,
            "no answer to a ping within 0.4 s",
        )
        # Neither does it answer the close frame; all the same the connection ends.
        with pytest.raises((EOFError, ConnectionError)):
            await client.frame()


async def test_heartbeat_keeps_a_real_client(
    hasty: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    async with hasty.by_id(contract.contract_id) as client:
        async with await RawClient.stream(
            hasty, hasty.stream("id", [contract.contract_id])
        ) as clock:  # counts the pings; it must answer them to stay
            for _ in range(6):
                assert (await clock.frame()).opcode == PING
                await clock.send(frame_bytes(PONG))
        await publisher.publish(contract.contract_id, payload())
        await receive(client)


async def test_ping_of_a_client_is_answered_with_a_pong(gateway: Gateway, market: Market) -> None:
    path = gateway.stream("id", [market.one().contract_id])
    async with await RawClient.stream(gateway, path) as client:
        await client.send(frame_bytes(PING, b"are you there?"))
        frame = await client.frame()
        assert (frame.first, frame.payload) == (0x80 | PONG, b"are you there?")


@pytest.mark.parametrize("message", ["x" * 4096, b"\x00" * 4096, ["in", "three", "parts"], ""])
async def test_messages_of_a_client_that_are_no_commands_are_ignored(
    gateway: Gateway,
    market: Market,
    publisher: Publisher,
    payload: Payload,
    message: str | bytes | list[str],
) -> None:
    contract = market.one()
    async with gateway.by_id(contract.contract_id) as client:
        await client.send(message)
        async with asyncio.timeout(PATIENCE):
            await (await client.ping())  # it was read
        await publisher.publish(contract.contract_id, payload())
        await receive(client)


@pytest.mark.parametrize(
    "message", ["x" * 4097, "x" * 1_000_000, ["x" * 4000, "x" * 97], "پ" * 2049]
)
async def test_message_too_big_is_1009(
    gateway: Gateway, market: Market, message: str | list[str]
) -> None:
    async with gateway.by_id(
        market.one().contract_id,
    ) as client:
        await client.send(message)
        assert (await closed(client)).code == 1009


async def test_client_that_sends_a_megabyte_sees_the_1009(gateway: Gateway, market: Market) -> None:
    path = gateway.stream("id", [market.one().contract_id])
    async with await RawClient.stream(gateway, path) as client:
        await client.send(frame_bytes(TEXT, b"x" * 1_000_000))
        frame = await client.frame()
        assert frame.close.code == 1009
        await client.send(frame_bytes(0x8, b"\x03\xf1"))
        assert await client.read_all() == b""


async def test_small_message_that_inflates_is_1009(gateway: Gateway, market: Market) -> None:
    path = gateway.stream("id", [market.one().contract_id])
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = bomb.compress(bytes(1_000_000)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    async with await RawClient.stream(
        gateway, path, ["Sec-WebSocket-Extensions: permessage-deflate"]
    ) as client:
        await client.send(frame_bytes(BINARY, body[:-4], rsv=0x40))
        assert (await client.frame()).close.code == 1009


async def test_flood_of_messages_is_1008(gateway: Gateway, market: Market) -> None:
    async with gateway.by_id(market.one().contract_id) as client:
        for _ in range(60):  # 50 at once are let through
            await client.send("again")
        close = await closed(client)
    assert (close.code, close.reason) == (1008, "too many messages")


async def test_compressed_messages_of_a_client_are_ignored_too(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    async with gateway.by_id(contract.contract_id) as client:
        assert client.protocol.extensions
        for _ in range(3):
            await client.send("x" * 4000)
        async with asyncio.timeout(PATIENCE):
            await (await client.ping())
        await publisher.publish(contract.contract_id, payload())
        await receive(client)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x05hello", 1002),  # not masked
        (frame_bytes(0x3, b"x"), 1002),  # no such opcode
        (frame_bytes(TEXT, b"x", rsv=0x20), 1002),  # no such extension
        (frame_bytes(PING, b"x" * 126), 1002),  # a control frame too long
        (frame_bytes(PING, b"x", fin=False), 1002),  # a control frame in parts
        (frame_bytes(CONTINUATION, b"x"), 1002),  # of nothing
        (frame_bytes(0x8, b"\x03"), 1002),  # half a close code
    ],
)
async def test_invalid_frame_is_1002(
    gateway: Gateway, market: Market, frame: bytes, code: int
) -> None:
    path = gateway.stream("id", [market.one().contract_id])
    async with await RawClient.stream(gateway, path) as client:
        await client.send(frame)
        assert (await client.frame()).close.code == code


async def test_close_frame_is_answered_with_its_close_code(
    gateway: Gateway, market: Market
) -> None:
    path = gateway.stream("id", [market.one().contract_id])
    async with await RawClient.stream(gateway, path) as client:
        await client.send(frame_bytes(0x8, (4321).to_bytes(2) + b"bye"))
        assert (await client.frame()).close.code == 4321
        assert await client.read_all() == b""


# Compression


NEGOTIATED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def _extensions(client: RawClient) -> str | None:
    for line in client.head.decode().split("\r\n"):
        name, _, value = line.partition(": ")
        if name.lower() == "sec-websocket-extensions":
            return value
    return None


async def test_permessage_deflate_is_negotiated_without_context_takeover(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    path = gateway.stream("id", [contract.contract_id])
    offer = ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]
    async with (
        await RawClient.stream(gateway, path, offer) as compressed,
        await RawClient.stream(gateway, path) as plain,
    ):
        assert _extensions(compressed) == NEGOTIATED
        assert _extensions(plain) is None
        for count in range(3):
            data = payload(Aggregate={"trade_count": count})
            await publisher.publish(contract.contract_id, data)
            frame, text = await compressed.frame(), (await plain.frame()).payload
            assert frame.first == 0xC1
            assert len(frame.payload) < len(text)
            # Each by itself: a new decompressor reads it.
            inflated = zlib.decompressobj(-15).decompress(frame.payload + b"\x00\x00\xff\xff")
            assert inflated == text
            assert json.loads(text)["data"] == data


@pytest.mark.parametrize(("bits", "first"), [(8, 0x81), (9, 0x81), (10, 0xC1), (15, 0xC1)])
async def test_permessage_deflate_respects_a_small_window(
    gateway: Gateway,
    market: Market,
    publisher: Publisher,
    payload: Payload,
    bits: int,
    first: int,
) -> None:
    contract = market.one()
    path = gateway.stream("id", [contract.contract_id])
    offer = [f"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits={bits}"]
    async with await RawClient.stream(gateway, path, offer) as client:
        await publisher.publish(contract.contract_id, payload())
        # Most decompressors would let it pass, so the frame itself is looked at.
        assert (await client.frame()).first == first


async def test_real_client_with_a_small_window_gets_right_messages(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    path = gateway.stream("id", [contract.contract_id])
    factory = ClientPerMessageDeflateFactory(server_max_window_bits=9)
    async with gateway.connect(path, compression=None, extensions=[factory]) as client:
        assert client.protocol.extensions
        await publisher.publish(contract.contract_id, payload())
        assert (await receive(client))["data"] == payload()


async def test_permessage_deflate_can_be_switched_off(
    hasty: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    path = hasty.stream("id", [contract.contract_id])
    offer = ["Sec-WebSocket-Extensions: permessage-deflate"]
    async with await RawClient.stream(hasty, path, offer) as client:
        assert _extensions(client) is None
        await publisher.publish(contract.contract_id, payload())
        frame = await client.frame()
        while frame.opcode == PING:
            frame = await client.frame()
        assert frame.first == 0x81
