"""A store that answers with errors: that is not "no data", by plain HTTP and in a status."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis import Redis
from redis.exceptions import RedisError

from ime_live.contracts import Contract
from ime_live.errors import ImeLiveError, StoreError
from ime_live.publisher import Publisher
from ime_live.store.pubsub import IDLE
from tests.stream.conftest import Serve, register
from tests.support.gateways import Gateway, receive
from tests.support.marks import thorough
from tests.support.servers import Server, free_port, until

Payload = Callable[..., dict[str, Any]]
Eventually = Callable[..., Awaitable[None]]

GOOD = Contract(contract_id="1", contract_name="GOOD")
BAD = Contract(contract_id="2", contract_name="BAD")
INTERVAL = 0.3  # seconds between two status messages
LIVE = "/live/data/{}/contract/{}?contract_{}s={}"


@contextlib.contextmanager
def busy(server: Server) -> Iterator[None]:
    """A script runs that does not end."""
    server.client.config_set("busy-reply-threshold", 50)

    def run() -> None:
        with Redis(port=server.port) as client, contextlib.suppress(RedisError):
            client.eval("while true do end", 0)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        until(lambda: _done(lambda: server.client.script_kill()))
        thread.join()


def _done(call: Callable[[], object]) -> bool:
    try:
        call()
    except RedisError:
        return False
    return True


@contextlib.contextmanager
def no_permission(server: Server) -> Iterator[None]:
    """The gateway's user may not read states."""
    server.client.execute_command("ACL", "SETUSER", "default", "-hmget")
    try:
        yield
    finally:
        server.client.execute_command("ACL", "SETUSER", "default", "+hmget")


@contextlib.contextmanager
def master_down(server: Server) -> Iterator[None]:
    """The server has become a replica of one that is away, and serves no old data."""
    server.client.config_set("replica-serve-stale-data", "no")
    server.client.execute_command("REPLICAOF", "127.0.0.1", str(free_port()))
    try:
        yield
    finally:
        server.client.execute_command("REPLICAOF", "NO", "ONE")


def ask(gateway: Gateway, contract: Contract, section: str = "aggregate") -> Any:  # noqa: ANN401
    return gateway.get(LIVE.format(section, "name", "name", contract.contract_name))


async def current(client: Any) -> bool:  # noqa: ANN401
    """Return whether the next status says that the contract is current."""
    while True:
        message = await receive(client)
        if message["channel"] == "IME Status":
            said: bool = message["data"]["current"]
            return said


@pytest.mark.parametrize("refusing", [thorough(busy), no_permission, master_down])
async def test_error_of_the_store_is_503_and_not_current(
    serve: Serve,
    tmp_path: Path,
    payload: Payload,
    eventually: Eventually,
    refusing: Callable[[Server], contextlib.AbstractContextManager[None]],
) -> None:
    with Server(tmp_path / "valkey", "--save", "") as server:
        await register(server.url, GOOD, BAD)
        gateway = await asyncio.to_thread(serve, server.url, status_interval=INTERVAL)
        async with Publisher(server.url) as publisher:
            await publisher.publish("1", payload())
        async with gateway.by_id("1", snapshot="true", status="true") as client:
            assert await current(client)
            with refusing(server):
                await eventually(lambda: ask(gateway, GOOD).status == 503, 15)
                for section in ("overview", "best-limit"):
                    answer = ask(gateway, GOOD, section)
                    assert answer.status == 503
                    assert answer.json() == {"detail": "market data cannot be read now"}
                while await current(client):
                    pass  # some are on their way
                assert not any([await current(client) for _ in range(3)])
                report = gateway.get("/live/status").json()["contracts"]["GOOD"]
                assert refusing is no_permission or report["timestamp"] is None
            await eventually(lambda: ask(gateway, GOOD).status == 200, 15)
            while not await current(client):
                pass
    outages = gateway.events("last states cannot be read")
    assert len(outages) <= 2  # one of the streams and one of the calls, and not one a look


async def test_store_that_refuses_writes_is_still_read(
    serve: Serve, tmp_path: Path, payload: Payload, eventually: Eventually
) -> None:
    folder = tmp_path / "valkey"
    with Server(folder, "--save", "3600 1") as server:
        await register(server.url, GOOD, BAD)
        gateway = await asyncio.to_thread(serve, server.url, status_interval=INTERVAL)
        async with Publisher(server.url) as publisher:
            await publisher.publish("1", payload())
            (folder / "dump.rdb").mkdir()  # so that the file cannot be put in its place
            server.client.config_set("stop-writes-on-bgsave-error", "yes")
            server.client.bgsave()
            until(lambda: server.client.info("persistence")["rdb_last_bgsave_status"] == "err")
            with pytest.raises(StoreError, match=r"refused a command: (.* )?MISCONF"):
                await publisher.publish("1", payload(Aggregate={"last_price": 5}))
            # Longer than the gateway lets a silent server be; it answers PING with an error now.
            async with gateway.by_id("1", snapshot="true", status="true") as client:
                for _ in range(round(2 * IDLE / INTERVAL)):
                    assert await current(client)
                    assert ask(gateway, GOOD).status == 200
                    async with gateway.by_id("1", snapshot="true") as other:
                        assert (await receive(other))["data"] == payload()
                (folder / "dump.rdb").rmdir()
                server.client.bgsave()
                until(lambda: server.client.info("persistence")["rdb_last_bgsave_status"] == "ok")
                await publisher.publish("1", payload(Aggregate={"last_price": 5}))
                while (message := await receive(client))["channel"] == "IME Status":
                    pass
                while message["data"].get("Aggregate", {}).get("last_price") != 5:
                    message = await receive(client)
        assert gateway.events("connection to Redis lost") == []  # while the server runs
    assert gateway.events("Redis refuses to subscribe") == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda redis, key: redis.set(key, "a text"),
        thorough(lambda redis, key: redis.rpush(key, "a list")),
        lambda redis, key: redis.hset(key, mapping={"version": "5", "data": "{}"}),
        thorough(lambda redis, key: redis.hset(key, mapping={"version": "x", "data": "{}"})),
        lambda redis, key: redis.hset(key, mapping={"version": "5"}),
        thorough(lambda redis, key: redis.hset(key, mapping={"data": "{}", "seen": "5"})),
        thorough(lambda redis, key: redis.hset(key, mapping={"version": "", "data": ""})),
        lambda redis, key: redis.hset(
            key, mapping={"version": "5", "data": msgspec.json.encode({"x": "y" * 5_000_000})}
        ),
    ],
    ids=[
        *("WRONGTYPE text", "WRONGTYPE list", "data", "version"),
        *("no data", "no version", "empty", "size"),
    ],
)
async def test_bad_data_affects_its_contract_only(
    serve: Serve,
    tmp_path: Path,
    payload: Payload,
    spoil: Callable[[Any, str], object],
) -> None:
    with Server(tmp_path / "valkey", "--save", "") as server:
        await register(server.url, GOOD, BAD)
        gateway = await asyncio.to_thread(serve, server.url, status_interval=INTERVAL)
        async with Publisher(server.url) as publisher:
            await publisher.publish("1", payload())
        spoil(server.client, "ime:last:{2}")
        both = LIVE.format("aggregate", "id", "id", "1&contract_ids=2&contract_ids=7")
        answer = gateway.get(both)
        assert answer.status == 200
        body = answer.json()
        assert body["Data"] == {"1": payload()["Aggregate"], "2": None, "7": None}
        assert "the market data of 2 cannot be read" in body["Status"]["Description"]["en"]
        assert "دادهٔ بازار 2 خوانده نمی‌شود" in body["Status"]["Description"]["fa"]
        # By the name that it was asked for; and the neighbour's answer says nothing of it.
        overview = ask(gateway, BAD, "overview").json()
        assert overview["Data"]["BAD"]["contractId"] == "2"
        assert overview["Data"]["BAD"]["BestLimit"] is None
        assert "the market data of BAD cannot be read" in overview["Status"]["Description"]["en"]
        good = ask(gateway, GOOD).json()["Status"]["Description"]["en"]
        assert good == "The request was successful."
        async with (
            gateway.by_id("1", status="true") as unconcerned,
            gateway.by_id("1", "2", status="true", snapshot="true") as client,
        ):
            assert await current(unconcerned)
            assert not await current(client)
        assert len(gateway.events("last state cannot be read")) <= 2
        # A patch has nothing to merge into, and says why.
        async with Publisher(server.url) as publisher:
            with pytest.raises(ImeLiveError, match=r"cannot be merged into|WRONGTYPE"):
                await publisher.patch("2", Aggregate={"last_price": 5})


def reads_of_registry(server: Server) -> int:
    """How often all contracts were read since the server began."""
    counts: Any = server.client.info("commandstats")
    return int(counts.get("cmdstat_hgetall", {}).get("calls", 0))


async def test_record_that_cannot_be_read_does_not_remove_its_contract(
    serve: Serve, tmp_path: Path, payload: Payload, eventually: Eventually
) -> None:
    with Server(tmp_path / "valkey", "--save", "") as server:
        await register(server.url, GOOD, BAD)
        gateway = await asyncio.to_thread(serve, server.url, contracts_interval=0.2)
        for n in range(300):
            server.client.hset("ime:contracts", f"x{n}", "{")
        server.client.hset("ime:contracts", "2", "{")
        server.client.publish("ime:contracts", '["2"]')
        await eventually(lambda: gateway.events("contract cannot be read"), 15)
        before = reads_of_registry(server)
        await eventually(lambda: reads_of_registry(server) >= before + 3, 15)
        async with gateway.by_name("BAD") as client, Publisher(server.url) as publisher:
            await publisher.publish("2", payload())
            assert (await receive(client))["contractName"] == "BAD"
        assert len(gateway.events("contract cannot be read")) == 1
        assert gateway.get("/ready").json()["contracts"] == 2
