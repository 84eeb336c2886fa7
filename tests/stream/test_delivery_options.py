"""Modes: what clients may ask for beyond the documented stream: a pace, sections, a count."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from ime_live.publisher import Publisher
from tests.stream.conftest import Market
from tests.support.gateways import Gateway, closed, receive

Payload = Callable[..., dict[str, Any]]


def _trades(message: dict[str, Any]) -> int:
    count: int = message["data"]["Aggregate"]["trade_count"]
    return count


@pytest.mark.parametrize("compression", ["deflate", None])
async def test_throttling_sends_the_newest_state_and_always_the_last_one(
    gateway: Gateway,
    market: Market,
    publisher: Publisher,
    payload: Payload,
    compression: str | None,
) -> None:
    contract = market.one()
    path = gateway.stream("id", [contract.contract_id], max_rate="20", skipped="true")
    last = 60
    got: list[dict[str, Any]] = []
    async with gateway.connect(path, compression=compression) as client:
        begin = time.monotonic()
        for count in range(1, last + 1):
            await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": count}))
            await asyncio.sleep(0.005)
        while not got or _trades(got[-1]) < last:
            got.append(await receive(client))
            # The first one was sent after the beginning, and this one before it was received.
            assert time.monotonic() - begin >= (len(got) - 1) / 20 - 0.001
    counts = [_trades(message) for message in got]
    assert counts == sorted(set(counts))
    assert len(counts) < last
    # Every skipped state is counted.
    assert sum(message["skipped"] + 1 for message in got) == last
    for before, message in zip([0, *counts], got, strict=False):
        assert message["skipped"] == _trades(message) - before - 1
        assert list(message) == ["channel", "ContractId", "timestamp", "skipped", "data"]


async def test_throttling_limits_each_contract_on_its_own(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contracts = market.take(5)
    ids = [contract.contract_id for contract in contracts]
    async with gateway.by_id(*ids, max_rate="0.01") as client:
        for contract_id in ids:
            await publisher.publish(contract_id, payload())
        # 100 s between two of one contract, and none between two of different ones.
        assert [(await receive(client))["ContractId"] for _ in ids] == ids


async def test_throttling_of_one_client_does_not_affect_others(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    throttled = gateway.metric("throttled_total")
    async with (
        gateway.by_id(contract.contract_id, max_rate="0.01") as slow,
        gateway.by_id(contract.contract_id) as other,
    ):
        for count in range(10):
            await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": count}))
        assert [_trades(await receive(other)) for _ in range(10)] == list(range(10))
        assert _trades(await receive(slow)) in range(10)
        assert gateway.metric("throttled_total") > throttled


async def test_client_gets_its_sections_only_when_they_change(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    await publisher.publish(contract.contract_id, payload())
    async with gateway.by_name(
        contract.contract_name, sections="ContractInfo,BestLimit", snapshot="true"
    ) as client:
        message = await receive(client)
        assert list(message) == ["channel", "contractName", "timestamp", "data"]
        whole = payload()
        assert message["data"] == {key: whole[key] for key in ("BestLimit", "ContractInfo")}
        assert list(message["data"]) == ["BestLimit", "ContractInfo"]
        for count in range(5):  # of another section
            await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": count}))
        changed = payload(ContractInfo={"open_interest": 351})
        outcome = await publisher.publish(contract.contract_id, changed)
        message = await receive(client)
        assert message["data"]["ContractInfo"]["open_interest"] == 351
        async with gateway.by_name(contract.contract_name, snapshot="true") as other:
            assert (await receive(other))["timestamp"] == message["timestamp"]
        assert outcome.published


async def test_section_has_the_same_bytes_as_in_the_payload(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    await publisher.publish(contract.contract_id, payload(Aggregate={"last_price": 80978.9}))
    async with (
        gateway.by_id(contract.contract_id, snapshot="true") as whole,
        gateway.by_id(contract.contract_id, snapshot="true", sections="Aggregate") as part,
    ):
        text, some = await whole.recv(), await part.recv()
    assert isinstance(text, str)
    assert isinstance(some, str)
    section = json.dumps(json.loads(text)["data"]["Aggregate"], separators=(",", ":"))
    assert f'"Aggregate":{section}' in text
    assert some.endswith(f'"data":{{"Aggregate":{section}}}}}')


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"sections": "Nonsense"}, "no such section: Nonsense; there are BestLimit, Aggregate, "),
        ({"max_rate": "often"}, "max_rate is not a number from 0.01 to 1000: often"),
        ({"skipped": "perhaps"}, "skipped is neither true nor false: perhaps"),
    ],
)
async def test_malformed_delivery_options_are_refused(
    gateway: Gateway, market: Market, parameters: dict[str, str], reason: str
) -> None:
    async with gateway.by_id(market.one().contract_id, **parameters) as client:
        end = await closed(client)
        assert end.code == 1008
        assert end.reason.startswith(reason)


async def test_status_names_the_last_message_of_a_throttled_client(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract, other = market.take(2)
    async with gateway.by_id(
        contract.contract_id, max_rate="0.01", status="true", snapshot="true"
    ) as client:
        await receive(client)
        await publisher.publish(contract.contract_id, payload())
        state = await receive(client)
        await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": 99}))
        # The newest state waits for its time; a change of the selection brings a status.
        await client.send(json.dumps({"action": "subscribe", "contract_ids": [other.contract_id]}))
        assert (await receive(client))["channel"] == "IME Control"
        status = await receive(client)
        assert status["channel"] == "IME Status"
        assert status["data"]["contracts"] == {
            contract.contract_id: state["timestamp"],
            other.contract_id: None,
        }
