"""Messages: exactly as documented, byte for byte, at the endpoints' every spelling."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from redis.asyncio import Redis

from ime_live.local.embedded import EmbeddedValkey
from ime_live.publisher import Publisher
from tests.stream.conftest import PERSIAN, Market, Wire
from tests.support.gateways import Gateway, RawClient, receive

Payload = Callable[..., dict[str, Any]]


def _wall_clock(version: int) -> str:
    # Not by the code under test: seconds and microseconds apart, so that nothing is rounded.
    seconds, micros = divmod(version, 1_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).astimezone(ZoneInfo("Asia/Tehran"))
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{micros:06}"


@pytest.mark.parametrize(("by", "key"), [("name", "contractName"), ("id", "ContractId")])
async def test_message_is_the_documented_text(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload, by: str, key: str
) -> None:
    contract = market.one()
    requested = contract.contract_name if by == "name" else contract.contract_id
    data = payload(Aggregate={"last_price": 80978.9, "closing_price": 0, "time": "۱۵:۱۰"})
    async with await RawClient.stream(gateway, gateway.stream(by, [requested])) as client:
        outcome = await publisher.publish(contract.contract_id, data)
        frame = await client.frame()
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    assert frame.first == 0x81  # one whole text message in one frame
    assert frame.payload.decode() == (
        f'{{"channel":"IME Stream","{key}":"{requested}",'
        f'"timestamp":"{_wall_clock(outcome.version)}","data":{body}}}'
    )


async def test_payload_has_the_documented_order_from_any_publisher(
    gateway: Gateway, market: Market, wire: Wire, payload: Payload
) -> None:
    contract = market.one()
    data = payload()
    shuffled = {
        key: dict(reversed(value.items())) for key, value in reversed(list(data.items()))
    } | {"Note": "unknown to the documentation"}
    async with gateway.by_id(contract.contract_id) as client:
        await wire.send(contract, shuffled)
        message = await receive(client)
    assert json.dumps(message["data"]) == json.dumps(data)


@pytest.mark.parametrize("number", ["0", "1", "80978.9", "-4", "0.1", "9007199254740993"])
async def test_numbers_keep_their_spelling(
    gateway: Gateway,
    market: Market,
    publisher: Publisher,
    wire: Wire,
    payload: Payload,
    number: str,
) -> None:
    ours, theirs = market.take(2)
    data = json.dumps(payload(Aggregate={"last_price": 424242})).replace("424242", number).encode()
    async with await RawClient.stream(
        gateway, gateway.stream("id", [ours.contract_id, theirs.contract_id])
    ) as client:
        await publisher.publish(ours.contract_id, data)
        assert f'"last_price":{number},'.encode() in (await client.frame()).payload
        await wire.send_raw(theirs, b'{"data":' + data + b"}")
        assert f'"last_price":{number},'.encode() in (await client.frame()).payload


async def test_timestamp_is_the_wall_clock_of_tehran_of_the_version(
    gateway: Gateway, market: Market, wire: Wire, payload: Payload
) -> None:
    contract = market.one()
    async with gateway.by_id(contract.contract_id) as client:
        await wire.send(contract, payload(), version=1_779_536_400_000_000)
        assert (await receive(client))["timestamp"] == "2026-05-23T15:10:00.000000"


@pytest.mark.parametrize(
    ("by", "parameter"),
    [
        ("name", "contract_names"),
        ("name", "contract_name"),
        ("id", "contract_id"),
        ("id", "contract_ids"),
    ],
)
async def test_both_spellings_of_the_parameter_may_be_repeated(
    gateway: Gateway,
    market: Market,
    publisher: Publisher,
    payload: Payload,
    by: str,
    parameter: str,
) -> None:
    contracts = market.take(2)
    requested = [c.contract_name if by == "name" else c.contract_id for c in contracts]
    query = "&".join(f"{parameter}={value}" for value in requested)
    async with gateway.connect(f"/live/data/websocket/contract/{by}?{query}") as client:
        for contract, value in zip(contracts, requested, strict=True):
            await publisher.publish(contract.contract_id, payload())
            message = await receive(client)
            assert value in (message.get("contractName"), message.get("ContractId"))


@pytest.mark.parametrize(
    "name",
    [
        "سكه0312پ01",  # as registered: Arabic kaf
        "سکه0312پ01",  # Persian kaf
        "سکه۰۳۱۲پ۰۱",  # Persian digits
        "سكه٠٣١٢پ٠١",  # Arabic-Indic digits
        "سك\u200cه0312پ01",  # with a joiner that is not seen
    ],
)
async def test_persian_name_is_found_in_every_spelling_and_echoed_as_asked(
    gateway: Gateway, publisher: Publisher, payload: Payload, name: str
) -> None:
    async with gateway.by_name(name) as client:
        await publisher.publish(PERSIAN.contract_id, payload())
        await publisher.publish(PERSIAN.contract_id, payload(Aggregate={"trade_count": 13}))
        assert (await receive(client))["contractName"] == name


async def test_name_that_is_not_percent_encoded_is_read_as_utf8(
    gateway: Gateway, publisher: Publisher, payload: Payload
) -> None:
    path = f"/live/data/websocket/contract/name?contract_names={PERSIAN.contract_name}"
    async with await RawClient.stream(gateway, path) as client:
        await publisher.publish(PERSIAN.contract_id, payload())
        await publisher.publish(PERSIAN.contract_id, payload(Aggregate={"trade_count": 14}))
        frame = await client.frame()
    assert f'"contractName":"{PERSIAN.contract_name}"'.encode() in frame.payload  # unescaped


async def test_duplicate_contracts_are_streamed_once(
    gateway: Gateway, market: Market, publisher: Publisher, wire: Wire, payload: Payload
) -> None:
    one, other = market.take(2)
    names = [one.contract_name] * 3 + [other.contract_name]
    async with gateway.by_name(*names) as client:
        assert await wire.audience(one) == 1
        await publisher.publish(one.contract_id, payload())
        await publisher.publish(other.contract_id, payload())
        assert (await receive(client))["contractName"] == one.contract_name
        assert (await receive(client))["contractName"] == other.contract_name


@pytest.mark.parametrize("prefix", ["/data-engine/ime", ""])
async def test_root_path_may_be_stripped_or_passed_on(
    hasty: Gateway, market: Market, publisher: Publisher, payload: Payload, prefix: str
) -> None:
    contract = market.one()
    async with hasty.connect(prefix + hasty.stream("id", [contract.contract_id])) as client:
        await publisher.publish(contract.contract_id, payload())
        assert (await receive(client))["ContractId"] == contract.contract_id
    assert hasty.get(f"{prefix}/health").status == 200
    assert hasty.get(f"{prefix}/ready").json()["ready"] is True
    assert hasty.get(f"{prefix}{hasty.stream('id', ['1'])}").status == 426
    assert hasty.get(f"/elsewhere{prefix}/health").status == 404


async def test_thousand_contracts_in_one_query_are_served(
    gateway: Gateway,
    market: Market,
    publisher: Publisher,
    payload: Payload,
    backend: EmbeddedValkey,
) -> None:
    names = [contract.contract_name for contract in market.contracts[-1000:]]
    wanted = {contract.contract_id for contract in market.contracts[-1000:]}
    # Other tests may have drawn some of them: this state differs from all of theirs.
    data = payload(Aggregate={"trade_count": 1_000_000})
    redis: Any
    async with Redis.from_url(backend.url) as redis:
        async with gateway.by_name(*names) as client:
            await publisher.publish_many((i, data) for i in wanted)
            got = {(await receive(client))["contractName"] for _ in wanted}
        # Tests that draw them later expect contracts without a state.
        await redis.delete(*(f"ime:last:{{{i}}}" for i in wanted))
    assert got == set(names)


async def test_large_burst_is_received_completely(
    gateway: Gateway, market: Market, backend: EmbeddedValkey, payload: Payload
) -> None:
    contracts = market.take(20)
    async with (
        gateway.by_id(*(c.contract_id for c in contracts)) as client,
        Publisher(backend.url) as publisher,
    ):
        for count in range(10):
            data = payload(Aggregate={"trade_count": 1000 + count})
            await publisher.publish_many((c.contract_id, data) for c in contracts)
            got = [await receive(client) for _ in contracts]
            assert [m["ContractId"] for m in got] == [c.contract_id for c in contracts]
            assert {m["data"]["Aggregate"]["trade_count"] for m in got} == {1000 + count}
