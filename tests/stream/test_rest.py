"""The REST calls over HTTP: every path, both spellings, tokens, tags, compression, outages."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec
import pytest
from redis.asyncio import Redis

import ime_live
from ime_live.contracts import Contract, Market
from ime_live.gateway.auth.tokens import create_token
from ime_live.local.embedded import EmbeddedValkey
from ime_live.publisher import Publisher
from tests.stream.conftest import SECRET, Serve, Wire, register
from tests.stream.conftest import Market as Contracts
from tests.support.gateways import PATIENCE, Answer, Gateway, RawClient
from tests.support.proxy import Proxy

MakePayload = Callable[..., dict[str, Any]]

FUTURE: Final = Contract(
    contract_id="910001",
    contract_name="RESTF05",
    market=Market.FUTURES,
    title="قرارداد آتی",
    expiration_date=date(2099, 12, 30),
    aliases=("RESTOLD",),
)
OPTION: Final = Contract(contract_id="910002", contract_name="RESTO05", market=Market.OPTION)
CERTIFICATE: Final = Contract(
    contract_id="910003", contract_name="سكه0401پ09", market=Market.DEPOSIT_CERTIFICATE
)
SECTIONS: Final = {
    "best-limit": "BestLimit",
    "aggregate": "Aggregate",
    "allowed-price-range": "AllowedPriceRange",
    "contract-info": "ContractInfo",
}
NAMES: Final = {
    "name": (FUTURE.contract_name, OPTION.contract_name, "NOTHING"),
    "id": (FUTURE.contract_id, OPTION.contract_id, "999"),
}
PAGE: Final = "https://page.example"


def ask(
    gateway: Gateway,
    path: str,
    headers: dict[str, str] | None = None,
    method: str = "GET",
    **query: Any,  # noqa: ANN401
) -> Answer:
    """Ask with these parameters, each of them once or several times."""
    return gateway.request(method, f"{path}?{urlencode(query, doseq=True)}", headers)


def live(section: str = "aggregate", by: str = "name") -> str:
    return f"/live/data/{section}/contract/{by}"


async def length_of(client: RawClient) -> int:
    """Read the head of a good answer; how many bytes follow."""
    head = await client.read_head()
    assert head.startswith(b"HTTP/1.1 200 "), head
    return int(head.lower().partition(b"content-length: ")[2].split()[0])


async def known(gateway: Gateway, contract: Contract) -> None:
    """Wait until the gateway has heard of a contract."""
    async with asyncio.timeout(PATIENCE):
        while True:
            [found] = ask(
                gateway, "/static/data/contract/id", contract_ids=contract.contract_id
            ).json()["Data"]
            if found is not None:
                return
            await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def registered(backend: EmbeddedValkey) -> None:
    """The contracts of `market_data`."""
    asyncio.run(register(backend.url, FUTURE, OPTION, CERTIFICATE))


@pytest.fixture
async def market_data(
    registered: None, gateway: Gateway, publisher: Publisher, payload: MakePayload
) -> dict[str, Any]:
    """The state of `FUTURE`; `OPTION` has none."""
    for contract in (FUTURE, OPTION, CERTIFICATE):
        await known(gateway, contract)
    state = payload(Aggregate={"closing_price": 1163100.5})
    await publisher.publish(FUTURE.contract_id, state)
    return state


@pytest.mark.parametrize("parameter", ["contract_{}s", "contract_{}"])
@pytest.mark.parametrize("by", ["name", "id"])
@pytest.mark.parametrize("section", [*SECTIONS, "overview"])
def test_rest_live_calls_return_the_present_states(
    gateway: Gateway, market_data: dict[str, Any], section: str, by: str, parameter: str
) -> None:
    query: dict[str, Any] = {parameter.format(by): NAMES[by]}
    answer = ask(gateway, live(section, by), **query)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    found = answer.json()
    assert list(found) == ["Data", "Status"]
    future, option, nothing = (found["Data"][name] for name in NAMES[by])
    assert len(found["Data"]) == 3
    assert nothing is None
    if section == "overview":
        assert {key: future.pop(key) for key in SECTIONS.values()} == market_data
        assert (future["contractId"], future["contractName"]) == ("910001", "RESTF05")
        assert future["DaysToExpiration"] > 0
        assert [option.pop(key) for key in SECTIONS.values()] == [None] * 4
        assert {"optionType", "strikePrice", "requiredMargin"} <= set(option)
    else:
        assert future == market_data[SECTIONS[section]]
        assert option is None
    status = found["Status"]
    assert (status["State"], status["StatusCode"]) == (True, 200)
    assert abs(status["ServerTimeStamp"] - time.time()) < PATIENCE
    assert set(status["Description"]) == {"fa", "en"}


@pytest.mark.parametrize("by", ["name", "id"])
def test_rest_returns_static_data(gateway: Gateway, market_data: dict[str, Any], by: str) -> None:
    del market_data
    for parameter in (f"contract_{by}s", f"contract_{by}"):
        query: dict[str, Any] = {parameter: NAMES[by]}
        found = ask(gateway, f"/static/data/contract/{by}", **query).json()["Data"]
        assert [each and each["contractId"] for each in found] == ["910001", "910002", None]
    assert found[0]["ExpirationDate"] == "2099-12-30"
    assert "BestLimit" not in found[0]


def test_rest_search_finds_contracts(gateway: Gateway, market_data: dict[str, Any]) -> None:
    del market_data
    for market, text, name in (
        ("IMEFutures", "RESTF", FUTURE.contract_name),
        ("IMEFutures", "RESTOLD", FUTURE.contract_name),
        ("IMEOption", "O05", OPTION.contract_name),
        ("IMEDepositCertificate", "سکه۰۴۰۱", CERTIFICATE.contract_name),
    ):
        path = "/static/data/contract/search"
        found = ask(gateway, path, market=market, Search_char=text).json()["Data"]
        assert [each["contractName"] for each in found] == [name]


@pytest.mark.parametrize("name", ["سكه0401پ09", "سکه۰۴۰۱پ۰۹", "س\u200cكه0401پ09"])
def test_rest_keys_are_names_as_the_client_spelled_them(
    gateway: Gateway, market_data: dict[str, Any], name: str
) -> None:
    del market_data
    found = ask(gateway, live("overview"), contract_names=name).json()["Data"]
    assert list(found) == [name]
    assert found[name]["contractId"] == CERTIFICATE.contract_id


@pytest.mark.parametrize(
    ("path", "query", "said"),
    [
        (live(), {}, "no contract: name at least one with contract_names="),
        (live(by="id"), {"contract_ids": ""}, "contract_ids="),
        (live(), {"contract_names": ["A"] * 1001}, "too many contracts: 1001, at most 1000"),
        ("/static/data/contract/name", {"contract_ids": "1"}, "contract_names="),
        ("/static/data/contract/option-chain", {}, "underlying="),
        ("/static/data/contract/option-chain", {"underlying": "GC", "expiration": "x"}, "YYYY-MM"),
        ("/static/data/contract/search", {"market": "IME", "Search_char": "A"}, "IMEFutures, "),
        ("/static/data/contract/search", {"Search_char": "A"}, "market="),
    ],
)
def test_rest_wrong_parameters_are_422(
    gateway: Gateway, path: str, query: dict[str, Any], said: str
) -> None:
    answer = ask(gateway, path, **query)
    assert answer.status == 422
    assert set(answer.json()) == {"detail"}
    assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", live("nothing"), 404),
        ("GET", "/static/data/contract/isin", 404),
        ("POST", live(), 405),
        ("OPTIONS", live(), 405),
    ],
)
def test_rest_unknown_paths_and_methods_are_refused(
    gateway: Gateway, method: str, path: str, status: int
) -> None:
    answer = ask(gateway, path, method=method, contract_names="A")
    assert answer.status == status
    assert set(answer.json()) == {"detail"}
    if status == 405:
        assert answer.headers["Allow"] == "GET, HEAD"


# -- tokens --------------------------------------------------------------------------------------


def test_rest_accepts_and_refuses_tokens(guarded: Gateway, market: Contracts) -> None:
    mine, other = market.take(2)
    claims = [mine.contract_name]
    token = create_token(SECRET, "rest", 1, contracts=claims, now=time.time())
    for sent in ({"Authorization": token}, {"Authorization": f"Bearer {token}"}):
        assert ask(guarded, live(), sent, contract_names=mine.contract_name).status == 200
    assert ask(guarded, live(), contract_names=mine.contract_name, token=token).status == 200
    both = [mine.contract_name, other.contract_name]
    for path in (live(), live("overview"), "/static/data/contract/name"):
        answer = ask(guarded, path, sent, contract_names=both)
        assert answer.status == 403
        detail = f"contract not covered by the token: {other.contract_name}"
        assert answer.json() == {"detail": detail}
    assert ask(guarded, live(), sent, contract_names="NOTHING").json()["Data"] == {"NOTHING": None}


@pytest.mark.parametrize(
    "path",
    [
        live(),
        live("overview", "id"),
        "/static/data/contract/id",
        "/static/data/contract/search",
        "/static/data/contract/option-chain",
        "/static/data/market",
    ],
)
def test_rest_without_a_valid_token_reveals_nothing(guarded: Gateway, path: str) -> None:
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        # The parameters are wrong as well, which is not said to just anybody.
        answer = ask(guarded, path, headers)
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json()["detail"] in {"authentication required", "invalid token"}


# -- option chains and markets --------------------------------------------------------------------


CHAIN: Final = [
    Contract(
        contract_id=f"9101{strike}{side}",
        contract_name=f"RESTCH{side}{strike}",
        market=Market.OPTION,
        option_type="call" if side else "put",
        strike_price=strike * 1000,
        expiration_date=date(2099, 12, 30),
        underlying_id="REST CH",
        underlying_name="زعفران آزمایشی",
    )
    for strike in (10, 20, 30)
    for side in (0, 1)
]


async def test_rest_option_chain_has_the_states_of_both_sides(
    gateway: Gateway,
    guarded: Gateway,
    backend: EmbeddedValkey,
    publisher: Publisher,
    payload: MakePayload,
) -> None:
    await register(backend.url, *CHAIN)
    call = CHAIN[1]
    await publisher.publish(call.contract_id, payload(Aggregate={"last_price": 77}))
    path = "/static/data/contract/option-chain"

    def rows(target: Gateway, headers: dict[str, str] | None = None) -> Any:  # noqa: ANN401
        return ask(target, path, headers, underlying="زعفران\u200cآزمايشي").json()["Data"]

    async with asyncio.timeout(PATIENCE):
        while len(rows(gateway)) < 3:  # noqa: ASYNC110 - until the gateway has heard of them
            await asyncio.sleep(0.02)
    answer = ask(gateway, path, {"Accept-Encoding": "gzip"}, underlying="REST CH")
    assert answer.headers["Content-Encoding"] == "gzip"
    chain = json.loads(gzip.decompress(answer.body))["Data"]
    assert [each["strikePrice"] for each in chain] == [10_000, 20_000, 30_000]
    assert chain[0]["call"]["Aggregate"]["last_price"] == 77
    assert chain[0]["put"]["Aggregate"] is None
    tag = answer.headers["ETag"]
    again = ask(gateway, path, {"If-None-Match": tag}, underlying="REST CH")
    assert (again.status, again.body) == (304, b"")
    assert ask(gateway, path, underlying="NOTHING").json()["Data"] == []

    token = create_token(SECRET, "rest", 1, contracts=[call.contract_name], now=time.time())
    async with asyncio.timeout(PATIENCE):
        while not (seen := rows(guarded, {"Authorization": token})):  # noqa: ASYNC110 - the same
            await asyncio.sleep(0.02)
    assert [(each["strikePrice"], each["put"]) for each in seen] == [(10_000, None)]
    # The library's client reads the same.
    async with ime_live.AsyncClient(f"http://127.0.0.1:{gateway.port}") as client:
        pairs = await client.option_chain("REST CH", "2099-12-30")
    assert [each.strike_price for each in pairs] == [10_000, 20_000, 30_000]
    assert pairs[0].call is not None
    assert pairs[0].call.data is not None
    assert pairs[0].call.contract == call


async def test_rest_funds_are_in_none_of_the_documented_markets(
    gateway: Gateway, backend: EmbeddedValkey
) -> None:
    fund = Contract(contract_id="910200", contract_name="RESTFUND", market=Market.FUND)
    await register(backend.url, fund)
    found: dict[str, list[str]] = {}
    async with asyncio.timeout(PATIENCE):
        while fund.contract_name not in found.get(Market.FUND, []):
            for market in Market:
                answer = ask(gateway, "/static/data/contract/search", market=market)
                found[market] = [each["contractName"] for each in answer.json()["Data"]]
            await asyncio.sleep(0.02)
    assert {market for market, names in found.items() if fund.contract_name in names} == {
        Market.FUND
    }
    assert all(names == sorted(names) for names in found.values())


# -- HTTP ----------------------------------------------------------------------------------------


async def test_unchanged_etag_is_304(
    gateway: Gateway, market_data: dict[str, Any], publisher: Publisher
) -> None:
    def again(tag: str) -> Answer:
        return ask(gateway, live(), {"If-None-Match": tag}, contract_names=FUTURE.contract_name)

    tag = again('"other"').headers["ETag"]
    answer = again(tag)
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["ETag"] == tag
    assert answer.headers["Cache-Control"] == "private, no-cache"
    await publisher.patch(FUTURE.contract_id, Aggregate={"last_price": 5})
    answer = again(tag)
    assert answer.status == 200
    assert answer.json()["Data"][FUTURE.contract_name] != market_data["Aggregate"]
    assert answer.headers["ETag"] != tag


def test_head_is_get_without_a_body(gateway: Gateway, market_data: dict[str, Any]) -> None:
    del market_data
    answers = [
        ask(gateway, live("overview"), method=method, contract_names=FUTURE.contract_name)
        for method in ("GET", "HEAD")
    ]
    assert answers[1].body == b""
    for name in ("ETag", "Content-Type", "Content-Length", "Cache-Control"):
        assert answers[0].headers[name] == answers[1].headers[name]
    assert ask(gateway, live(), method="HEAD").status == 422


def test_rest_response_is_gzip_compressed_if_accepted(
    gateway: Gateway, market_data: dict[str, Any]
) -> None:
    def got(encoding: str) -> Answer:
        name = FUTURE.contract_name
        return ask(gateway, live("overview"), {"Accept-Encoding": encoding}, contract_names=name)

    packed, plain = got("gzip, deflate"), got("identity")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.body) < len(plain.body) * 0.7
    data = json.loads(gzip.decompress(packed.body))["Data"]
    assert data == plain.json()["Data"]
    assert data[FUTURE.contract_name]["Aggregate"] == market_data["Aggregate"]
    assert plain.headers["Content-Encoding"] is None
    for answer in (packed, plain):
        assert answer.headers["Vary"] == "Accept-Encoding"


async def test_rest_keep_alive_connection_serves_several_requests(
    gateway: Gateway, market_data: dict[str, Any]
) -> None:
    del market_data
    request = f"GET {live()}?contract_names=RESTF05 HTTP/1.1\r\nHost: t\r\n\r\n".encode()
    async with await RawClient.open(gateway.port) as client:
        await client.send(request * 3)  # pipelined, which HTTP allows
        for _ in range(3):
            body = await client.read_exactly(await length_of(client))
            assert list(json.loads(body)["Data"]) == ["RESTF05"]


@pytest.mark.parametrize("prefix", ["", "/data-engine/ime"])
def test_rest_works_behind_a_proxy_with_a_prefix(
    hasty: Gateway, market: Contracts, prefix: str
) -> None:
    name = market.one().contract_name
    assert ask(hasty, prefix + live(), contract_names=name).json()["Data"] == {name: None}
    document = hasty.get(f"{prefix}/openapi.json").json()
    assert document["servers"] == [{"url": "/data-engine/ime"}]


# -- stored states -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def patient(_serve_all: Serve) -> Gateway:
    """A gateway that answers however often it is asked."""
    return _serve_all(request_rate=0)


async def test_rest_returns_published_states(
    patient: Gateway, market: Contracts, publisher: Publisher, payload: MakePayload
) -> None:
    contract = market.one()
    request = (
        f"GET {live()}?contract_names={contract.contract_name} HTTP/1.1\r\nHost: t\r\n\r\n".encode()
    )
    stop = asyncio.Event()

    async def crowd() -> int:
        """Asks all the time, so that round trips are under way whenever a state is published."""
        answers = 0
        async with await RawClient.open(patient.port) as client:
            while not stop.is_set():
                await client.send(request)
                await client.read_exactly(await length_of(client))
                answers += 1
        return answers

    others = [asyncio.create_task(crowd()) for _ in range(8)]
    async with await RawClient.open(patient.port) as client:
        for price in range(1, 101):
            await publisher.publish(contract.contract_id, payload(Aggregate={"last_price": price}))
            await client.send(request)
            found = json.loads(await client.read_exactly(await length_of(client)))["Data"]
            assert found[contract.contract_name]["last_price"] == price
    stop.set()
    assert all(answers > 0 for answers in await asyncio.gather(*others))


async def test_rest_reads_states_of_a_foreign_publisher(
    gateway: Gateway,
    market: Contracts,
    wire: Wire,
    payload: MakePayload,
) -> None:
    spaced, extra, broken, wrong = market.take(4)
    theirs = payload(Aggregate={"theirs": [1]})
    for contract, data in (
        (spaced, json.dumps(payload(), indent=2)),
        (extra, json.dumps(theirs)),
        (broken, "{"),
    ):
        key = f"ime:last:{{{contract.contract_id}}}"
        await wire.redis.hset(key, mapping={"version": 5, "data": data})
    await wire.redis.set(f"ime:last:{{{wrong.contract_id}}}", "not even a hash")
    contracts = (spaced, extra, broken, wrong)
    ids = [contract.contract_id for contract in contracts]
    data = ask(gateway, live(by="id"), contract_ids=ids).json()["Data"]
    assert [data[i] for i in ids] == [payload()["Aggregate"], payload()["Aggregate"], None, None]


async def test_rest_is_503_during_an_outage_and_200_afterwards(
    own_valkey: EmbeddedValkey, serve: Serve, payload: MakePayload
) -> None:
    await register(own_valkey.url, FUTURE)
    async with Publisher(own_valkey.url) as publisher:
        await publisher.publish(FUTURE.contract_id, payload())
    paths: dict[str, dict[str, Any]] = {
        live("overview"): {"contract_names": FUTURE.contract_name},
        "/static/data/contract/name": {"contract_names": FUTURE.contract_name},
        "/static/data/contract/search": {"market": "IMEFutures", "Search_char": ""},
    }
    port = int(own_valkey.url.rpartition(":")[2])
    async with Proxy(port) as proxy:
        gateway = await asyncio.to_thread(serve, proxy.url)
        for path, query in paths.items():
            assert (await asyncio.to_thread(ask, gateway, path, **query)).status == 200
        await proxy.cut()
        for path, query in paths.items():
            answer = await when(gateway, path, query, 503)
            assert answer.json() == {"detail": "market data cannot be read now"}
        assert (await asyncio.to_thread(gateway.get, "/health")).status == 200
        await proxy.mend()
        for path, query in paths.items():
            await when(gateway, path, query, 200)
        assert gateway.metric("requests_total", status="503") >= 3


async def test_rest_is_503_in_time_while_the_store_hangs(
    own_valkey: EmbeddedValkey, serve: Serve, payload: MakePayload
) -> None:
    await register(own_valkey.url, FUTURE)
    async with Publisher(own_valkey.url) as publisher:
        await publisher.publish(FUTURE.contract_id, payload())
    gateway = await asyncio.to_thread(serve, own_valkey.url, redis_timeout=60)
    query: dict[str, Any] = {"contract_names": FUTURE.contract_name}
    await when(gateway, live(), query, 200)
    async with Redis.from_url(own_valkey.url) as client:
        pid = int((await client.info("server"))["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        # Clients do not wait as long as a connection to Redis may.
        async with asyncio.timeout(PATIENCE):
            answers = await asyncio.gather(
                *(asyncio.to_thread(ask, gateway, live(), **query) for _ in range(5))
            )
        assert {answer.status for answer in answers} == {503}
    finally:
        os.kill(pid, signal.SIGCONT)
    answer = await when(gateway, live(), query, 200)
    assert answer.json()["Data"] == {FUTURE.contract_name: payload()["Aggregate"]}


async def when(gateway: Gateway, path: str, query: Mapping[str, Any], status: int) -> Answer:
    """Ask until the status is as expected."""
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = await asyncio.to_thread(ask, gateway, path, **query)
            if answer.status == status:
                return answer
            assert answer.status in (200, 503)
            await asyncio.sleep(0.05)


# -- limits, and other people's pages ------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(_serve_all: Serve) -> Gateway:
    """A gateway that lets one page in, and two contracts and one request in 20 s at most."""
    return _serve_all(
        max_contracts=2, request_rate=0.05, cors_origins=f" {PAGE} , http://b.example"
    )


def test_rest_rate_limit_and_cors(strict: Gateway, market: Contracts) -> None:
    name = market.one().contract_name
    page = {"Origin": PAGE}
    preflight = page | {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    allowed = strict.request("OPTIONS", live(), preflight)
    assert (allowed.status, allowed.body) == (204, b"")
    assert allowed.headers["Access-Control-Allow-Origin"] == PAGE
    assert "Authorization" in allowed.headers["Access-Control-Allow-Headers"]
    events = f"/live/data/sse/contract/name?contract_names={name}"
    for path, status in ((events + "&since=x", 422), (events.replace(name, "NOPE"), 404)):
        refused = strict.request("GET", path, page)
        assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (status, PAGE)
    other = preflight | {"Origin": "https://other.example"}
    assert strict.request("OPTIONS", live(), other).status == 405

    first = ask(strict, live(), page, contract_names=[name] * 3)
    assert (first.status, first.json()["detail"]) == (422, "too many contracts: 3, at most 2")
    second = ask(strict, live(), page, contract_names=name)
    assert second.status == 429
    assert 0 < int(second.headers["Retry-After"]) <= 20
    assert second.json() == {"detail": "too many requests"}
    third = strict.request("GET", "/nothing", page)
    for answer in (first, second, third, strict.request("GET", "/ready", page)):
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert "Origin" in answer.headers.get_all("Vary", [])
    for answer in (ask(strict, live(), {"Origin": "https://other.example"}), strict.get("/ready")):
        assert answer.headers["Access-Control-Allow-Origin"] is None
        assert "Origin" in answer.headers.get_all("Vary", [])


async def test_streams_ignore_the_origin(strict: Gateway, market: Contracts) -> None:
    path = strict.stream("id", [market.one().contract_id])
    async with await RawClient.stream(strict, path, ["Origin: https://other.example"]) as client:
        assert b"Access-Control" not in client.head


def test_cors_allows_no_origin_outside_rest_and_events(gateway: Gateway) -> None:
    answer = gateway.request("GET", "/ready", {"Origin": PAGE})
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert quote(PAGE) not in str(answer.headers)


async def test_many_impatient_rest_clients_are_answered(
    patient: Gateway, market_data: dict[str, Any]
) -> None:
    """Two hundred at once, each on a connection of its own, all within their patience."""
    del market_data
    head = "Host: t\r\nConnection: close"
    request = f"GET {live()}?contract_names=RESTF05 HTTP/1.1\r\n{head}\r\n\r\n"

    async def one() -> bytes:
        async with await RawClient.open(patient.port) as client:
            await client.send(request.encode())
            return await client.read_all()

    answers = await asyncio.gather(*(one() for _ in range(200)))
    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 200"}
    assert msgspec.json.decode(answers[0].partition(b"\r\n\r\n")[2])["Data"]["RESTF05"]
