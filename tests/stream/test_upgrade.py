"""An upgrade in steps: gateways, publishers and clients of this version beside those of 0.1.0."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import ime_live
from ime_live.contracts import Contract
from ime_live.local.embedded import EmbeddedValkey
from ime_live.publisher import Publisher
from ime_live.settings import StoreSettings
from ime_live.status import FeedState, FeedStatus, MarketStatus
from ime_live.store.lease import Lease
from tests.stream.conftest import Market, Wire, register
from tests.support.gateways import PATIENCE, Gateway, receive
from tests.support.old_version import PYTHON, OldGateway, need_old_version, run_old

Payload = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]

VERSIONS = ("old", "new")
OTHER = {"old": "new", "new": "old"}


@pytest.fixture(scope="module")
def gateways(
    backend: EmbeddedValkey, market: Market, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Gateway]]:
    """A gateway of each version on one Valkey, whose contracts this version registered."""
    need_old_version()
    started: dict[str, Gateway] = {
        "old": OldGateway(tmp_path_factory.mktemp("old"), backend.url),
        "new": Gateway(tmp_path_factory.mktemp("new"), backend.url),
    }
    try:
        yield {name: gateway.when_ready() for name, gateway in started.items()}
    finally:
        for gateway in started.values():
            gateway.end()
    for gateway in started.values():
        assert "Traceback" not in gateway.output, gateway.output


@pytest.fixture(scope="module")
def old_publisher(
    gateways: dict[str, Gateway], backend: EmbeddedValkey
) -> Iterator[subprocess.Popen[str]]:
    """The old ``ime-live publish -``, which publishes each line that it is given."""
    arguments = ["-m", "ime_live", "publish", "-", "--redis-url", backend.url]
    with run_old(arguments, stdin=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(PATIENCE) == 0  # it has refused nothing


Publish = Callable[[str, Contract, dict[str, Any]], Awaitable[None]]


@pytest.fixture
def publish(
    old_publisher: subprocess.Popen[str], publisher: Publisher, wire: Wire, eventually: Eventually
) -> Publish:
    """Publish a state by the publisher of a version, and wait until it is stored."""

    async def by(version: str, contract: Contract, data: dict[str, Any]) -> None:
        if version == "new":
            await publisher.publish(contract.contract_id, data)
            return

        async def seen() -> object:
            return await wire.redis.hget(f"ime:last:{{{contract.contract_id}}}", "seen")

        before = await seen()
        line = json.dumps({"contractId": contract.contract_id, "data": data})
        print(line, file=old_publisher.stdin, flush=True)
        async with asyncio.timeout(PATIENCE):
            while await seen() == before:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.002)

    return by


async def test_states_of_both_publishers_reach_the_clients_of_both_gateways(
    gateways: dict[str, Gateway], market: Market, publish: Publish, payload: Payload
) -> None:
    contract = market.one()
    async with AsyncExitStack() as stack:
        by_id, by_name = [
            [
                await stack.enter_async_context(connect(name))
                for connect, name in (
                    (getattr(gateway, f"by_{by}"), value) for gateway in gateways.values()
                )
            ]
            for by, value in (("id", contract.contract_id), ("name", contract.contract_name))
        ]
        timestamps = [""]
        for count, version in enumerate(("old", "new", "old", "old", "new", "new", "old")):
            data = payload(Aggregate={"trade_count": count, "last_price": 1_163_500.5 + count})
            await publish(version, contract, data)
            # An equal state is none of a change, whichever version has stored it.
            await publish(OTHER[version], contract, data)
            for clients in (by_id, by_name):
                old, new = [await receive(client) for client in clients]
                assert old == new
                assert (old["data"], count) == (data, old["data"]["Aggregate"]["trade_count"])
            timestamps.append(old["timestamp"])
        assert timestamps == sorted(set(timestamps))


@pytest.mark.parametrize("version", VERSIONS)
async def test_client_resumes_at_the_gateway_of_the_other_version(
    gateways: dict[str, Gateway], market: Market, publish: Publish, payload: Payload, version: str
) -> None:
    changed, same = market.take(2)
    names = (changed.contract_name, same.contract_name)
    async with gateways[version].by_name(*names) as client:
        for contract in (changed, same):
            await publish(version, contract, payload(Aggregate={"trade_count": 1}))
        since = max([(await receive(client))["timestamp"] for _ in names])
    for count in (2, 3):
        await publish(OTHER[version], changed, payload(Aggregate={"trade_count": count}))
    async with gateways[OTHER[version]].by_name(*names, since=since) as client:
        first = await receive(client)
        assert first["contractName"] == changed.contract_name
        assert first["data"]["Aggregate"]["trade_count"] == 3
        await publish(version, changed, payload(Aggregate={"trade_count": 4}))
        assert (await receive(client))["data"]["Aggregate"]["trade_count"] == 4


FULL = Contract(
    contract_id="800001",
    contract_name="SAFTR00C400",
    market=ime_live.Market.OPTION,
    title="اختیار خرید زعفران",
    aliases=("SAFTR00",),
    buy_commission=0.0025,
    expiration_date=date(2031, 5, 1),
    can_buy=True,
    underlying_id="SAF",
    option_type="call",
    strike_price=400_000,
)


def static(gateway: Gateway, contract: Contract) -> Any:  # noqa: ANN401 - any JSON
    """The static data of a contract, as a gateway answers; None if it does not know it."""
    path = f"/static/data/contract/id?contract_ids={contract.contract_id}"
    [data] = gateway.get(path).json()["Data"]
    return data


@pytest.mark.parametrize("version", VERSIONS)
async def test_contract_of_either_version_is_known_to_both_gateways(
    gateways: dict[str, Gateway],
    backend: EmbeddedValkey,
    eventually: Eventually,
    tmp_path: Path,
    version: str,
) -> None:
    suffix = str(VERSIONS.index(version))
    contract = replace(
        FULL, contract_id=FULL.contract_id + suffix, contract_name=FULL.contract_name + suffix
    )
    if version == "new":
        await register(backend.url, contract)
    else:
        lines = tmp_path / "contracts"
        lines.write_bytes(contract.to_json())
        arguments = ["contracts", "import", str(lines), "--redis-url", backend.url]
        assert run_old(["-m", "ime_live", *arguments]).wait(PATIENCE) == 0
    await eventually(lambda: all(static(each, contract) for each in gateways.values()))
    old, new = (static(each, contract) for each in gateways.values())
    assert old.items() <= new.items()
    assert (new["contractName"], new["ExpirationDate"]) == (contract.contract_name, "2031-05-01")


async def test_old_gateway_leaves_out_a_contract_of_a_market_that_it_does_not_know(
    gateways: dict[str, Gateway],
    backend: EmbeddedValkey,
    market: Market,
    publish: Publish,
    payload: Payload,
    eventually: Eventually,
) -> None:
    fund = Contract(contract_id="810001", contract_name="Fund", market=ime_live.Market.FUND)
    await register(backend.url, fund)
    await eventually(lambda: static(gateways["new"], fund))
    assert static(gateways["old"], fund) is None
    contract = market.one()
    async with gateways["old"].by_id(contract.contract_id) as client:
        await publish("new", contract, payload())
        assert (await receive(client))["data"] == payload()


async def test_feed_of_markets_that_an_old_gateway_does_not_know_is_no_feed_there(
    gateways: dict[str, Gateway], backend: EmbeddedValkey, eventually: Eventually
) -> None:
    def are(seen: Sequence[str | None]) -> bool:
        return seen == [each.get("/live/status").json()["feed"] for each in gateways.values()]

    live = MarketStatus(FeedState.LIVE)
    known = {ime_live.Market.FUTURES: live}
    async with Lease(StoreSettings(redis_url=backend.url), "a feed") as lease:
        for markets, seen in (
            (known, ["live", "live"]),
            (known | {ime_live.Market.FUND: live}, [None, "live"]),
            (known, ["live", "live"]),  # which also old clients can read
        ):
            await lease.take()
            now = time.time_ns() // 1000
            await lease.write(FeedStatus(FeedState.LIVE, now, markets=markets, written=now))
            await eventually(partial(are, seen))
        await lease.release()


# The old client library with a service: the states of a contract, then of another one.
OLD_CLIENT = """
import sys
import ime_live

url, first, second = sys.argv[1:]
with ime_live.connect(url, [first], snapshot=True, meta=True, status=True, proxy=None) as stream:
    print(next(stream).data.aggregate.trade_count, flush=True)
    stream.add([second])
    for message in stream:
        print(message.contract_name, message.data.aggregate.trade_count, flush=True)
        if message.data.aggregate.trade_count == 9:
            break
    assert stream.status is not None
with ime_live.connect(url, [first], sections=["Aggregate"], max_rate=5, proxy=None) as stream:
    print(next(stream).data.aggregate.trade_count, flush=True)
with ime_live.BlockingClient(url) as client:
    print(client.snapshot([first])[first].aggregate.trade_count)
    print(client.overview([second])[second].contract.contract_name)
    print([each and each.contract_name for each in client.contracts([first, "NOPE"])])
"""


async def test_old_client_reads_the_new_gateway(
    gateways: dict[str, Gateway], market: Market, publish: Publish, payload: Payload
) -> None:
    first, second = market.take(2)
    await publish("new", first, payload(Aggregate={"trade_count": 1}))
    await publish("new", second, payload(Aggregate={"trade_count": 2}))
    names = [first.contract_name, second.contract_name]
    url = f"ws://127.0.0.1:{gateways['new'].port}"
    process = await asyncio.create_subprocess_exec(
        *(PYTHON, "-I", "-c", OLD_CLIENT, url, *names), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            assert await process.stdout.readline() == b"1\n"
            assert await process.stdout.readline() == f"{names[1]} 2\n".encode()
            await publish("new", second, payload(Aggregate={"trade_count": 9}))
            rest = (await process.stdout.read()).decode().splitlines()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert rest == [f"{names[1]} 9", "1", "1", names[1], f"[{names[0]!r}, None]"]


async def test_new_client_reads_the_old_gateway(
    gateways: dict[str, Gateway], market: Market, publish: Publish, payload: Payload
) -> None:
    first, second = market.take(2)
    await publish("old", first, payload(Aggregate={"trade_count": 1}))
    await publish("old", second, payload(Aggregate={"trade_count": 2}))
    names = [first.contract_name, second.contract_name]
    url = f"ws://127.0.0.1:{gateways['old'].port}"
    async with (
        asyncio.timeout(PATIENCE),
        ime_live.connect(url, names[:1], skipped=True, status=True, proxy=None) as stream,
    ):
        assert (await anext(stream)).data.aggregate.trade_count == 1
        await stream.add(names[1:])
        message = await anext(stream)
        assert (message.contract_name, message.data.aggregate.trade_count) == (names[1], 2)
        await publish("old", second, payload(Aggregate={"trade_count": 3}))
        assert (await anext(stream)).data.aggregate.trade_count == 3
        assert stream.status is not None
    async with (
        asyncio.timeout(PATIENCE),
        ime_live.connect(
            url, names[:1], sections=["Aggregate"], max_rate=5, proxy=None
        ) as throttled,
    ):
        assert (await anext(throttled)).data.aggregate
    async with ime_live.AsyncClient(url, proxy=None) as client:
        found = await client.snapshot(names)
        assert found[names[1]] == ime_live.read_payload(payload(Aggregate={"trade_count": 3}))
        assert [c and c.contract_name for c in await client.contracts([*names, "NOPE"])] == [
            *names,
            None,
        ]
        with pytest.raises(ime_live.ServiceError, match="older version may not have this call"):
            await client.candles(names[:1])
