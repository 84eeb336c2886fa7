"""Reconnecting: `snapshot` and `since`, which give a client what it does not have."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ime_live.publisher import Publisher
from tests.stream.conftest import Market
from tests.support.gateways import Gateway, closed, receive

Payload = Callable[..., dict[str, Any]]


async def test_snapshot_has_the_state_of_each_contract_that_has_one(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    one, two, empty = market.take(3)
    for count, contract in enumerate((one, two)):
        await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": count}))
    async with gateway.by_id(
        *(c.contract_id for c in (one, two, empty)), snapshot="true"
    ) as client:
        got = {(m := await receive(client))["ContractId"]: m for _ in range(2)}
        assert [got[c.contract_id]["data"]["Aggregate"]["trade_count"] for c in (one, two)] == [
            0,
            1,
        ]
        # Then the changes, and not the same once more.
        await publisher.publish(empty.contract_id, payload())
        assert (await receive(client))["ContractId"] == empty.contract_id


async def test_snapshot_has_the_newest_state_also_beside_other_subscribers(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    async with gateway.by_id(contract.contract_id) as first:
        for count in range(3):
            await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": count}))
            await receive(first)
        async with gateway.by_name(contract.contract_name, snapshot="1") as second:
            message = await receive(second)
            assert message["contractName"] == contract.contract_name
            assert message["data"]["Aggregate"]["trade_count"] == 2


async def test_resume_with_since_sends_newer_states_only(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    old, new, changing = market.take(3)
    ids = [c.contract_id for c in (old, new, changing)]
    async with gateway.by_id(*ids) as client:
        await publisher.publish(old.contract_id, payload())
        last_seen = (await receive(client))["timestamp"]
    await publisher.publish(new.contract_id, payload())
    async with gateway.by_id(*ids, since=last_seen) as client:
        assert (await receive(client))["ContractId"] == new.contract_id
        await publisher.publish(changing.contract_id, payload())
        assert (await receive(client))["ContractId"] == changing.contract_id


async def test_resume_with_since_accepts_an_offset(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contract = market.one()
    await publisher.publish(contract.contract_id, payload())
    past = datetime.now(ZoneInfo("Asia/Tehran")) - timedelta(minutes=1)
    path = gateway.stream("id", [contract.contract_id])
    for since in (
        f"{past:%Y-%m-%dT%H:%M:%S}",
        f"{past:%Y-%m-%dT%H:%M:%S}+03:30",  # with its plus sign as a space, as it arrives
        f"{past:%Y-%m-%dT%H:%M:%S}%2B03:30",
        f"{past.astimezone(ZoneInfo('UTC')):%Y-%m-%dT%H:%M:%S}Z",
    ):
        async with gateway.connect(f"{path}&since={since}") as client:
            assert (await receive(client))["ContractId"] == contract.contract_id
    future = f"{past + timedelta(hours=1):%Y-%m-%dT%H:%M:%S}"
    async with gateway.connect(f"{path}&since={future}") as client:
        await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": 77}))
        assert (await receive(client))["data"]["Aggregate"]["trade_count"] == 77


@pytest.mark.parametrize(
    ("parameter", "value", "reason"),
    [
        ("snapshot", "maybe", "snapshot is neither true nor false: maybe"),
        ("since", "yesterday", "since is not an ISO 8601 time: yesterday"),
        ("since", "2026-13-01T00:00:00", "since is not an ISO 8601 time: 2026-13-01T00:00:00"),
    ],
)
async def test_malformed_since_or_snapshot_is_refused(
    gateway: Gateway, market: Market, parameter: str, value: str, reason: str
) -> None:
    async with gateway.by_id(market.one().contract_id, **{parameter: value}) as client:
        close = await closed(client)
    assert (close.code, close.reason) == (1008, reason)
