"""The REST client on a real gateway: what it gives is what was published and registered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

import ime_live
from ime_live.contracts import Contract
from ime_live.local.embedded import EmbeddedValkey
from ime_live.market_json import read_payload
from ime_live.publisher import Publisher
from tests.stream.conftest import Market, Serve, register
from tests.stream.test_authentication import token
from tests.support.gateways import PATIENCE, Gateway
from tests.support.marks import thorough

Payload = Callable[..., dict[str, Any]]

FUTURE = Contract(
    contract_id="700001",
    contract_name="SAFOR99",
    market=ime_live.Market.FUTURES,
    title="زعفران نگین",
    buy_commission=0.0025,
    expiration_date=date(2031, 5, 1),
    can_buy=True,
)


def url_of(gateway: Gateway) -> str:
    return f"http://127.0.0.1:{gateway.port}"


async def test_rest_client_reads_present_states(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload
) -> None:
    known, by_id, without = market.take(3)
    for count, contract in enumerate((known, by_id)):
        await publisher.publish(contract.contract_id, payload(Aggregate={"trade_count": count}))
    client = ime_live.AsyncClient(url_of(gateway))
    names = [known.contract_name, without.contract_name, "NOPE"]
    found = await client.snapshot(names, [int(by_id.contract_id)])
    assert list(found) == [*names, by_id.contract_id]
    assert found[known.contract_name] == read_payload(payload(Aggregate={"trade_count": 0}))
    assert found[by_id.contract_id] == read_payload(payload(Aggregate={"trade_count": 1}))
    assert (found[without.contract_name], found["NOPE"]) == (None, None)
    overview = (await client.overview([without.contract_name]))[without.contract_name]
    assert overview is not None
    assert (overview.contract.contract_id, overview.data) == (without.contract_id, None)


@pytest.mark.parametrize(
    "section",
    [
        ime_live.BestLimit,
        ime_live.Aggregate,
        ime_live.AllowedPriceRange,
        ime_live.ContractInfo,
    ],
)
async def test_rest_client_reads_one_section(
    gateway: Gateway, market: Market, publisher: Publisher, payload: Payload, section: type[Any]
) -> None:
    contract = market.one()
    await publisher.publish(contract.contract_id, payload())
    client = ime_live.AsyncClient(url_of(gateway))
    found = await client.snapshot([contract.contract_name], section=section)
    whole = read_payload(payload())
    parts = {type(part): part for part in (getattr(whole, n) for n in whole.__struct_fields__)}
    assert found == {contract.contract_name: parts[section]}


async def test_rest_client_reads_contracts_and_searches(
    gateway: Gateway, backend: EmbeddedValkey
) -> None:
    await register(backend.url, FUTURE)
    client = ime_live.AsyncClient(url_of(gateway))
    while (found := await client.search("IMEFutures", "OR99")) != [FUTURE]:
        assert found == []  # the gateway is being told of it
    assert await client.search(ime_live.Market.FUTURES, "زعفران") == [FUTURE]
    assert await client.search(ime_live.Market.OPTION, "OR99") == []
    contract, nothing, same = await client.contracts(["SAFOR99", "NOPE"], ["700001"])
    assert nothing is None
    assert contract == same
    assert contract is not None
    assert (contract.title, contract.buy_commission) == ("زعفران نگین", 0.0025)


async def test_rest_client_splits_requests_beyond_the_length_of_a_url(
    serve: Serve, market: Market, publisher: Publisher, payload: Payload
) -> None:
    contracts = market.take(300)
    await publisher.publish_many((c.contract_id, payload()) for c in contracts)
    client = ime_live.AsyncClient(url_of(serve()))
    names = [contract.contract_name for contract in contracts]
    found = await client.snapshot(names)
    assert list(found) == names
    assert all(each == read_payload(payload()) for each in found.values())


async def test_rest_client_sends_its_token(guarded: Gateway, market: Market) -> None:
    contract, other = market.take(2)
    with pytest.raises(ime_live.AuthenticationError, match="authentication required"):
        await ime_live.AsyncClient(url_of(guarded)).contracts([contract.contract_name])
    client = ime_live.AsyncClient(url_of(guarded), token=token(contracts=[contract.contract_name]))
    assert (await client.contracts([contract.contract_name]))[0] is not None
    with pytest.raises(ime_live.ServiceError, match="not covered") as caught:
        await client.snapshot([other.contract_name])
    assert caught.value.status == 403


def test_blocking_rest_client_in_a_plain_program(gateway: Gateway, market: Market) -> None:
    contract = market.one()
    with ime_live.Client(url_of(gateway)) as client:
        assert client.snapshot([contract.contract_name]) == {contract.contract_name: None}
        [found] = client.contracts(contract_ids=[contract.contract_id])
        assert found is not None
        assert found.contract_name == contract.contract_name


@pytest.mark.parametrize(
    "requested",
    [
        {"contract_names": [f"MANY{n:03}" for n in range(150)]},
        thorough({"contract_ids": [str(720_000 + n) for n in range(150)]}),
        {"contract_names": ["MANY*"]},
        thorough({"contract_names": ["MANY*", "MANY149"], "markets": ["IMEFund"]}),
        thorough({"contract_ids": ["720*"]}),
    ],
)
async def test_candles_of_many_contracts_take_several_calls(
    requested: dict[str, Any], gateway: Gateway, backend: EmbeddedValkey
) -> None:
    fund = ime_live.Market.FUND
    many = [
        Contract(contract_id=str(720_000 + n), contract_name=f"MANY{n:03}", market=fund)
        for n in range(150)
    ]
    await register(backend.url, *many)
    async with ime_live.AsyncClient(url_of(gateway)) as client:
        ids = [each.contract_id for each in many]
        async with asyncio.timeout(PATIENCE):
            while None in await client.contracts(contract_ids=ids):
                pass  # the gateway is being told of them
        found = await client.candles(**requested, start="2026-11-01", end="2026-11-02")
        assert await client.candles(["NO*"]) == {}
    by_id = "contract_ids" in requested
    names = [each.contract_id if by_id else each.contract_name for each in many]
    assert sorted(found) == names
    assert all(candles == [] for candles in found.values())
