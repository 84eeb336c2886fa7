"""Streams and calls that choose contracts by market, pattern and underlying, on real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from typing import Any
from urllib.parse import urlencode

import jwt
import msgspec
import pytest
from redis.asyncio import Redis

import ime_live
from ime_live.contracts import Contract, Market
from ime_live.local.embedded import EmbeddedValkey
from ime_live.settings import StoreSettings
from ime_live.store.store import Store
from tests.stream.conftest import SECRET, Serve
from tests.support.gateways import Gateway, closed, receive
from tests.support.marks import thorough
from tests.support.payloads import payload

LIMIT = 6


def contract(number: int, name: str, market: Market, **fields: Any) -> Contract:  # noqa: ANN401
    return Contract(contract_id=str(number), contract_name=name, market=market, **fields)


GOLD = contract(
    1,
    "GCAZ05",
    Market.FUTURES,
    underlying_name="شمش طلا",
    underlying_id="IRK1",
    underlying_title="Gold bar",
)
COIN = contract(2, "SKAZ05", Market.FUTURES, underlying_name="سکه")
CALL = contract(11, "GCAZ05C100", Market.OPTION, underlying_name="شمش طلا", underlying_id="IRK1")
OLD = contract(12, "GCOLD", Market.OPTION, delisted=True)
NEW = contract(3, "GCNEW", Market.FUTURES)


class World:
    """A store of its own, with a gateway and what its feed would do."""

    def __init__(self, store: Store, publisher: ime_live.Publisher, gateway: Gateway) -> None:
        self.store = store
        self.publisher = publisher
        self.gateway = gateway

    async def publish(self, each: Contract, price: float) -> None:
        await self.publisher.publish(each.contract_id, payload(price))

    async def delist(self, each: Contract) -> None:
        await self.store.import_contracts([msgspec.structs.replace(each, delisted=True)])

    def stream(self, query: str, by: str = "name") -> Any:  # noqa: ANN401
        return self.gateway.connect(f"/live/data/websocket/contract/{by}?{query}")


@pytest.fixture(scope="module")
def own_valkey() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture(scope="module")
def own_gateway(own_valkey: EmbeddedValkey, _serve_all: Serve) -> Gateway:
    return _serve_all(own_valkey.url, max_contracts=LIMIT, ready=False)


@pytest.fixture
async def world(own_valkey: EmbeddedValkey, own_gateway: Gateway) -> AsyncIterator[World]:
    redis: Any
    async with (
        Redis.from_url(own_valkey.url) as redis,
        Store(StoreSettings(redis_url=own_valkey.url)) as store,
        ime_live.Publisher(own_valkey.url) as publisher,
    ):
        known = await store.contracts()
        await store.remove_contracts([each.contract_id for each in known])
        # An equal state of the test before would not be sent again.
        async for key in redis.scan_iter("ime:last:*"):
            await redis.delete(key)
        await store.import_contracts([GOLD, COIN, CALL, OLD])
        own_gateway.when_ready()
        made = World(store, publisher, own_gateway)
        await until_matches(made, "market=IMEFutures&market=IMEOption", [GOLD, COIN, CALL])
        yield made


def names(contracts: Iterable[Contract]) -> list[str]:
    return sorted(each.contract_name for each in contracts)


def data(gateway: Gateway, path: str) -> Any:  # noqa: ANN401
    answer = gateway.get(path)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)["Data"]


async def until_matches(world: World, query: str, contracts: Iterable[Contract]) -> None:
    """Wait until the gateway has learnt of a change of the registry."""
    wanted = names(contracts)
    async with asyncio.timeout(10):
        while True:
            answer = world.gateway.get(f"/static/data/contract/name?{query}")
            # Until the gateway knows what was removed, there may be more contracts than it allows.
            if answer.status == 200:
                found = json.loads(answer.body)["Data"]
                if sorted(each["contractName"] for each in found) == wanted:
                    return
            await asyncio.sleep(0.02)


async def next_control(client: Any) -> Any:  # noqa: ANN401
    while True:
        message = await receive(client)
        if message["channel"] == "IME Control":
            return message["data"]


async def next_state(client: Any) -> tuple[str, float]:  # noqa: ANN401
    while True:
        message = await receive(client)
        if message["channel"] == "IME Stream":
            name = message.get("contractName") or message["ContractId"]
            return name, message["data"]["Aggregate"]["last_price"]


async def until_price(stream: ime_live.Stream[ime_live.Payload], name: str, price: float) -> None:
    """Read the client library's stream until a contract has this price."""
    async with asyncio.timeout(20):
        async for message in stream:
            if message.contract_name == name and message.data.aggregate.last_price == price:
                return


@pytest.mark.parametrize(
    ("query", "by", "expected"),
    [
        ("market=IMEFutures", "name", {"GCAZ05", "SKAZ05"}),
        ("market=IMEFutures&market=IMEOption", "name", {"GCAZ05", "SKAZ05", "GCAZ05C100"}),
        ("contract_names=GC*", "name", {"GCAZ05", "GCAZ05C100"}),
        ("contract_id=1*", "id", {"1", "11"}),
        ("market=IMEOption", "id", {"11"}),
        ("underlying=IRK1", "name", {"GCAZ05", "GCAZ05C100"}),
        (urlencode({"underlying": "شمش\u200cطلا"}), "name", {"GCAZ05", "GCAZ05C100"}),
        ("underlying=Gold+bar", "name", {"GCAZ05"}),
        ("underlying=IRK1&market=IMEOption", "name", {"GCAZ05C100"}),
        ("contract_names=GC*&market=IMEFutures", "name", {"GCAZ05"}),
        ("contract_names=SKAZ05&market=IMEOption", "name", {"SKAZ05", "GCAZ05C100"}),
        ("contract_names=GCOLD&contract_names=NONE*", "name", {"GCOLD"}),
        ("contract_id=name:GC*", "id", {"1", "11"}),
        ("contract_id=name:GC*&contract_id=2&market=IMEOption", "id", {"2", "11"}),
        ("contract_names=id:1*", "name", {"GCAZ05", "GCAZ05C100"}),
        (
            "market=IMEOption,IMEFutures&market=IMEOption",
            "name",
            {"GCAZ05", "SKAZ05", "GCAZ05C100"},
        ),
        (
            "contract_names=SKAZ05&contract_names=GC*&contract_names=GC*&underlying=X&underlying=IRK1",
            "name",
            {"SKAZ05", "GCAZ05C100", "GCAZ05"},
        ),
    ],
)
async def test_stream_with_filter_sends_matching_contracts(
    world: World, query: str, by: str, expected: set[str]
) -> None:
    every = (GOLD, COIN, CALL, OLD)
    for number, each in enumerate(every):
        await world.publish(each, 100 + number)
    async with world.stream(f"{query}&snapshot=true", by) as client:
        found = [await next_state(client) for _ in expected]
        assert {name for name, _ in found} == expected
        for each in every:
            await world.publish(each, 999)
        found = [await next_state(client) for _ in expected]
        assert {name for name, _ in found} == expected
    # The same by plain HTTP.
    query = query.replace("contract_id", "contract_ids")
    live = data(world.gateway, f"/live/data/aggregate/contract/{by}?{query}")
    assert live.keys() == expected
    static = data(world.gateway, f"/static/data/contract/{by}?{query}")
    key = "contractName" if by == "name" else "contractId"
    assert {each[key] for each in static} == expected


async def test_stream_adds_listings_and_removes_delistings_with_control_messages(
    world: World,
) -> None:
    async with (
        world.stream("market=IMEFutures&status=true") as notified,
        world.stream("market=IMEFutures") as plain,
    ):
        assert (await receive(notified))["channel"] == "IME Status"
        await world.store.import_contracts([NEW])
        message = await next_control(notified)
        assert message["action"] == "listing"
        assert message["added"] == {"contract_names": ["GCNEW"], "contract_ids": []}
        assert message["removed"] == {"contract_names": [], "contract_ids": []}
        assert message["matching"]["contract_names"] == ["GCAZ05", "GCNEW", "SKAZ05"]
        assert message["filters"] == [{"by": "name", "market": ["IMEFutures"]}]
        await world.publish(NEW, 7)
        assert await next_state(notified) == ("GCNEW", 7)
        assert await next_state(plain) == ("GCNEW", 7)
        await world.delist(COIN)
        message = await next_control(notified)
        assert message["removed"] == {"contract_names": ["SKAZ05"], "contract_ids": []}
        await world.publish(COIN, 8)
        await world.publish(GOLD, 9)
        assert await next_state(notified) == ("GCAZ05", 9)
        # A client that has not asked gets states only.
        message = await receive(plain)
        assert (message["channel"], message["contractName"]) == ("IME Stream", "GCAZ05")


async def test_listing_brings_the_state_that_was_published_before(world: World) -> None:
    await world.delist(NEW)
    await world.publish(NEW, 5)
    async with world.stream("market=IMEFutures") as client:
        await world.store.import_contracts([NEW])
        assert await next_state(client) == ("GCNEW", 5)


async def test_renamed_contract_goes_on_under_its_present_name(world: World) -> None:
    async with world.stream("market=IMEOption&status=true") as client:
        await world.store.import_contracts([msgspec.structs.replace(CALL, contract_name="GCX")])
        message = await next_control(client)
        assert message["added"]["contract_names"] == ["GCX"]
        assert message["removed"]["contract_names"] == ["GCAZ05C100"]
        await world.publish(CALL, 3)
        assert await next_state(client) == ("GCX", 3)


async def test_later_listing_above_the_limit_is_an_error_and_no_close(world: World) -> None:
    more = [contract(50 + n, f"GCLIM{n}", Market.FUTURES) for n in range(LIMIT - 1)]
    async with world.stream("market=IMEFutures&status=true") as client:
        await world.store.import_contracts(more)
        message = await next_control(client)
        assert len(message["added"]["contract_names"]) == LIMIT - 2
        assert message["errors"] == [
            {"contract": "GCLIM4", "error": f"too many contracts: {LIMIT + 1}, at most {LIMIT}"}
        ]
        await world.publish(GOLD, 4)
        assert await next_state(client) == ("GCAZ05", 4)
        async with world.stream("market=IMEFutures") as late:
            close = await closed(late)
            assert (close.code, close.reason) == (
                1008,
                f"too many contracts: {LIMIT + 1}, at most {LIMIT}",
            )
        # There is room again when another one leaves.
        await world.delist(COIN)
        message = await next_control(client)
        assert message["added"]["contract_names"] == ["GCLIM4"]


async def test_commands_add_and_remove_filters(world: World) -> None:
    for each in (GOLD, COIN, CALL):
        await world.publish(each, 1)
    async with world.stream("contract_names=SKAZ05") as client:
        command = {"action": "subscribe", "market": ["IMEOption"], "id": 1, "snapshot": True}
        await client.send(json.dumps(command))
        answer = await next_control(client)
        assert (answer["id"], answer["errors"]) == (1, [])
        assert answer["contract_names"] == ["SKAZ05"]
        assert answer["matching"]["contract_names"] == ["GCAZ05C100"]
        assert (await next_state(client))[0] == "GCAZ05C100"
        await client.send('{"action": "subscribe", "contract_names": ["GC*"], "snapshot": true}')
        answer = await next_control(client)
        assert len(answer["filters"]) == 2
        assert (await next_state(client))[0] == "GCAZ05"
        await client.send('{"action": "unsubscribe", "contract_names": ["GCAZ05"]}')
        text = "a filter matches this contract, so only the filter can be removed: GCAZ05"
        assert (await next_control(client))["errors"] == [{"contract": "GCAZ05", "error": text}]
        await client.send('{"action": "unsubscribe", "contract_names": ["GC*"]}')
        assert (await next_control(client))["matching"]["contract_names"] == ["GCAZ05C100"]
        await client.send('{"action": "unsubscribe", "market": "IMEOption"}')
        assert "filters" not in await next_control(client)
        await client.send('{"action": "subscribe", "market": "Moon", "id": 2}')
        answer = await next_control(client)
        assert answer["errors"][0]["contract"] is None
        assert "there are IMEFutures" in answer["errors"][0]["error"]
        await world.publish(GOLD, 2)
        await world.publish(COIN, 3)
        assert await next_state(client) == ("SKAZ05", 3)


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("market=Moon", "no such market: Moon; there are IMEFutures"),
        ("market=", "no such market: none is named; there are IMEFutures"),
        ("underlying=", "underlying must be the name or the id of an underlying, got an empty"),
        ("contract_names=NOPE&market=IMEFutures", "unknown contract: NOPE"),
        ("status=true", "no contract: name at least one"),
        ("&".join(f"contract_names=A{n}*" for n in range(101)), "too many patterns: 101, at most"),
    ],
)
async def test_wrong_filter_is_refused(world: World, query: str, reason: str) -> None:
    async with world.stream(query) as client:
        close = await closed(client)
        assert close.code == 1008
        assert close.reason.startswith(reason)
    answer = world.gateway.get(f"/static/data/contract/name?{query}")
    if "NOPE" not in query:
        assert answer.status == 422
        assert json.loads(answer.body)["detail"].startswith(reason)


async def test_filter_that_matches_nothing_waits_for_a_listing(world: World) -> None:
    async with world.stream("underlying=nothing&status=true") as client:
        assert (await receive(client))["data"]["contracts"] == {}
        await world.store.import_contracts([msgspec.structs.replace(NEW, underlying_id="nothing")])
        assert (await next_control(client))["added"]["contract_names"] == ["GCNEW"]
    assert data(world.gateway, "/static/data/contract/name?underlying=nobody") == []


async def test_events_of_a_market_include_later_listings(world: World) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", world.gateway.port)
    path = "/live/data/sse/contract/name?market=IMEFutures&status=true"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
    async with asyncio.timeout(10):
        await reader.readuntil(b'"IME Status"')
        await world.store.import_contracts([NEW])
        await reader.readuntil(b'"added":{"contract_names":["GCNEW"]')
        await world.publish(NEW, 6)
        await reader.readuntil(b'"contractName":"GCNEW"')
    writer.close()


async def test_token_restricts_matching_contracts(
    own_valkey: EmbeddedValkey, world: World, serve: Serve
) -> None:
    guarded = serve(own_valkey.url, auth="jwt", variables={"IME_LIVE_JWT_SECRET": SECRET})
    token = jwt.encode({"sub": "a", "contracts": ["GC*"]}, SECRET)
    query = f"market=IMEFutures&market=IMEOption&token={token}"
    path = f"/live/data/websocket/contract/name?{query}&status=true"
    async with guarded.connect(path) as client:
        status = await receive(client)
        assert status["data"]["contracts"].keys() == {"GCAZ05", "GCAZ05C100"}
        hidden = contract(70, "SKNEW", Market.FUTURES)
        await world.store.import_contracts([hidden, NEW])
        assert (await next_control(client))["added"]["contract_names"] == ["GCNEW"]
    found = data(guarded, f"/static/data/contract/name?{query}")
    assert sorted(each["contractName"] for each in found) == ["GCAZ05", "GCAZ05C100", "GCNEW"]


@pytest.mark.parametrize("covered", [[], thorough(["NOPE*"]), thorough(["id:99"])])
async def test_token_without_matching_contracts_gets_empty_answers(
    covered: list[str], own_valkey: EmbeddedValkey, world: World, serve: Serve
) -> None:
    guarded = serve(own_valkey.url, auth="jwt", variables={"IME_LIVE_JWT_SECRET": SECRET})
    token = jwt.encode({"sub": "a", "contracts": covered}, SECRET)
    query = f"market=IMEFutures&contract_names=GC*&token={token}"
    async with guarded.connect(f"/live/data/websocket/contract/name?{query}&status=true") as client:
        assert (await receive(client))["data"]["contracts"] == {}
        await client.send('{"action": "subscribe", "market": "IMEOption", "id": 1}')
        answer = await next_control(client)
        assert (answer["errors"], answer["matching"]["contract_names"]) == ([], [])
        await client.send('{"action": "subscribe", "contract_names": ["GCAZ05"], "id": 2}')
        [fault] = (await next_control(client))["errors"]
        assert fault["error"].startswith("contract not covered")
        await world.store.import_contracts([NEW])
        await world.publish(GOLD, 5)
        await client.send('{"action": "unsubscribe", "market": "IMEOption", "id": 3}')
        while (message := await receive(client))["channel"] != "IME Control":
            assert message["channel"] == "IME Status"  # there are no states
        assert message["data"]["id"] == 3
    for path, empty in (
        (f"/static/data/contract/name?{query}", []),
        (f"/live/data/overview/contract/name?{query}", {}),
        (f"/live/data/candles/contract/name?{query}", {}),
        (f"/static/data/contract/search?market=IMEFutures&token={token}", []),
        (f"/static/data/contract/option-chain?underlying=IRK1&token={token}", []),
    ):
        assert data(guarded, path) == empty


async def test_gateway_killed_in_a_listing_loses_nothing_for_the_client_library(
    own_valkey: EmbeddedValkey, world: World, serve: Serve
) -> None:
    first = serve(own_valkey.url, shutdown_spread=0)
    async with ime_live.connect(first.url(""), markets=["IMEFutures"], status=True) as stream:
        await world.publish(COIN, 1)
        await until_price(stream, "SKAZ05", 1)
        await world.publish(GOLD, 1)
        await until_price(stream, "GCAZ05", 1)
        await world.store.import_contracts([NEW])
        first.process.kill()  # before or after it has heard of the new contract
        first.process.wait()
        await world.delist(COIN)
        await world.publish(NEW, 2)
        serve(own_valkey.url, port=first.port)
        await until_price(stream, "GCNEW", 2)
        # Also those that have left meanwhile.
        assert stream.contracts.contract_names == ("GCAZ05", "GCNEW")
        await world.publish(NEW, 3)
        await until_price(stream, "GCNEW", 3)


async def test_blocking_client_selects_by_filter(world: World) -> None:
    for each in (GOLD, COIN, CALL):
        await world.publish(each, 1)
    since = "2026-01-01T00:00:00.000000"
    loop = asyncio.get_running_loop()

    def await_in_loop(work: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result(10)

    def read(stream: ime_live.BlockingStream[Any], name: str, price: float) -> Any:  # noqa: ANN401
        for each in stream:
            if each.contract_name == name and each.data.aggregate.last_price == price:
                return each.data
        raise AssertionError("the stream has ended")

    def work() -> None:
        url = world.gateway.url("")
        options: dict[str, Any] = {"sections": ["Aggregate"], "max_rate": 100, "since": since}
        with ime_live.connect(url, markets=["IMEFutures"], status=True, **options) as stream:
            assert {next(stream).contract_name for _ in range(2)} == {"GCAZ05", "SKAZ05"}
            await_in_loop(world.store.import_contracts([NEW]))
            await_in_loop(world.publish(NEW, 4))
            assert read(stream, "GCNEW", 4).best_limit is msgspec.UNSET
            assert stream.contracts.contract_names == ("GCAZ05", "GCNEW", "SKAZ05")
            assert stream.add(underlying="IRK1").filters[1].underlyings == ("IRK1",)
            assert read(stream, "GCAZ05C100", 1)
            left = stream.remove(markets=["IMEFutures"])
            assert left.contract_names == ("GCAZ05", "GCAZ05C100")
        with ime_live.Client(url) as client:
            states = client.snapshot(["SK*"], markets=["IMEFutures"])
            assert {
                name: state and state.aggregate.last_price for name, state in states.items()
            } == {"SKAZ05": 1}
            assert client.overview(markets=["IMEOption"]).keys() == {"GCAZ05C100"}

    await asyncio.to_thread(work)


async def test_client_library_selects_by_filter(world: World) -> None:
    for each in (GOLD, COIN, CALL):
        await world.publish(each, 1)
    url = world.gateway.url("")
    async with ime_live.connect(url, ["SKAZ05"], underlying="IRK1") as stream:
        found = {(await anext(stream)).contract_name for _ in range(3)}
        assert found == {"SKAZ05", "GCAZ05", "GCAZ05C100"}
        assert set(stream.contracts.contract_names) == found
        selected = await stream.remove(underlying="IRK1")
        assert selected.contract_names == ("SKAZ05",)
        assert selected.filters == ()
        selected = await stream.add(["GC*"], markets=[Market.OPTION])
        assert selected.contract_names == ("SKAZ05", "GCAZ05C100")
        assert (await anext(stream)).contract_name == "GCAZ05C100"
    async with ime_live.AsyncClient(url) as client:
        states = await client.snapshot(["SKAZ05"], markets=["IMEOption"])
        assert {name: state and state.aggregate.last_price for name, state in states.items()} == {
            "SKAZ05": 1,
            "GCAZ05C100": 1,
        }
        contracts = await client.contracts(["GC*"])
        assert [each and each.contract_name for each in contracts] == ["GCAZ05", "GCAZ05C100"]
