"""Real servers under Sentinel and as a cluster, and what a stream does when they change."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ime_live.bars.aggregator import BarAggregator
from ime_live.contracts import Contract
from ime_live.errors import FencedError, IncompleteError, StoreError
from ime_live.local.embedded import EmbeddedValkey
from ime_live.market import timestamp_of
from ime_live.market_json import read_payload
from ime_live.publisher import Publisher
from ime_live.settings import BarsSettings, StoreSettings
from ime_live.status import FeedState, FeedStatus
from ime_live.store.bar_store import BarStore
from ime_live.store.lease import BARS, Lease
from ime_live.store.records import Stored
from ime_live.store.store import Store
from ime_live.timezones import TEHRAN, zone_of
from tests.support.gateways import Gateway, receive
from tests.support.marks import thorough
from tests.support.servers import (
    MASTER,
    PATIENCE,
    ClusterServers,
    SentinelServers,
    Server,
    free_port,
)

MakePayload = Callable[..., dict[str, Any]]

# Seconds after which a server that hangs is given up.
TIMEOUT = 1.0

# Seconds, far above what it takes to follow a failover, and below what it takes servers to end it
# by themselves.
FOLLOWED = 5.0

# Seconds, well before a subscriber asks by itself whether a silent server is there (10, and the
# above); the look at the topology takes less than 3.
BEFORE_IDLE = 7.0

CONTRACTS = [Contract(contract_id=str(n), contract_name=f"KASH{n:04}") for n in range(500)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServers]:
    """Three primaries and a replica; a test that kills one starts it again."""
    with ClusterServers(tmp_path_factory.mktemp("cluster")) as servers:
        asyncio.run(register(servers.url))
        yield servers


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelServers]:
    """A master, a replica and a Sentinel."""
    with SentinelServers(tmp_path_factory.mktemp("sentinel")) as servers:
        asyncio.run(register(servers.url))
        yield servers


@pytest.fixture(params=["cluster", thorough("sentinel")])
def url(request: pytest.FixtureRequest) -> str:
    """Each of the two."""
    servers: ClusterServers | SentinelServers = request.getfixturevalue(request.param)
    return servers.url


async def register(url: str) -> None:
    async with store_of(url) as store:
        result = await store.import_contracts(CONTRACTS)
        assert len(result.added) == len(CONTRACTS)


def store_of(url: str) -> Store:
    return Store(StoreSettings(redis_url=url))


@asynccontextmanager
async def streaming(
    folder: Path, url: str, *ids: str
) -> AsyncIterator[tuple[Gateway, Any, Publisher]]:
    """A gateway, a client that has had a message, and who published it; all on one topology."""
    gateway = Gateway(folder, url, redis_timeout=TIMEOUT).when_ready()
    try:
        async with (
            gateway.by_id(*ids, snapshot="true") as client,
            Publisher(url, redis_timeout=TIMEOUT) as publisher,
        ):
            yield gateway, client, publisher
            assert client.close_code is None
        assert "Traceback" not in gateway.output, gateway.output
    except BaseException:
        print(gateway.output)  # shown for a test that fails
        raise
    finally:
        gateway.end()


async def keep(store: Store, contract_id: str, data: bytes) -> int:
    """Publish a state that is a change; its version."""
    [stored] = await store.publish([(contract_id, data)])
    assert not isinstance(stored, StoreError), stored
    assert stored.published
    return stored.version


async def publish_at_last(publisher: Publisher, contract_id: str, payload: dict[str, Any]) -> None:
    """Publish as a feed does: again, until the store takes it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(StoreError):
                await publisher.publish(contract_id, payload)
                return
            await asyncio.sleep(0.02)


async def price(client: Any) -> Any:  # noqa: ANN401
    """The price in a client's next message."""
    message = await receive(client, PATIENCE)
    return message["data"]["Aggregate"]["last_price"]


def contract_at(node: Server, cluster: ClusterServers) -> str:
    """A contract whose slot the node has."""
    ids = (contract.contract_id for contract in CONTRACTS)
    return next(i for i in ids if cluster.primary_of(f"{{{i}}}") is node)


# -- both -----------------------------------------------------------------------------------


async def test_many_contracts_are_published_and_read(url: str, payload: MakePayload) -> None:
    data = read_payload(payload()).to_json()
    async with store_of(url) as store:
        await store.ping()
        assert len(await store.contracts()) == len(CONTRACTS)
        assert (await store.contracts_of(["7", "none"]))["7"] == CONTRACTS[7]

        ids = [contract.contract_id for contract in CONTRACTS]
        stored = await store.publish([(i, data) for i in ids])
        assert all(not isinstance(s, StoreError) and s.published for s in stored)
        last = await store.last(ids)
        assert [last[i].version for i in ids] == [
            s.version for s in stored if not isinstance(s, StoreError)
        ]
        again = await store.publish([(i, data) for i in ids])
        assert all(not isinstance(s, StoreError) and not s.published for s in again)
        assert await store.publish_if("7", data, expected=1) is None


async def test_events_resume_a_second_before_the_last_one(
    tmp_path: Path, url: str, payload: MakePayload
) -> None:
    data = read_payload(payload(Aggregate={"trade_count": 424_242})).to_json()
    ids = ["31", "32", "33", "34"]  # at different nodes of a cluster
    async with store_of(url) as store:
        versions = [await keep(store, contract_id, data) for contract_id in ids]
        # By a clock that is late, or received in another order than they were published.
        older = {"31": versions[-1] - 900_000, "32": versions[-1] - 1_100_000}
        for contract_id, version in older.items():
            older_version = ("HSET", store.keys.last(contract_id), "version", version)
            await store.connections.client().run([older_version])
    gateway = Gateway(tmp_path, url, redis_timeout=TIMEOUT).when_ready()
    try:
        path = gateway.stream("id", ids).replace("/websocket/", "/sse/")
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        last = timestamp_of(versions[-1], zone_of(TEHRAN))
        head = f"GET {path} HTTP/1.1\r\nHost: here\r\nLast-Event-ID: {last}\r\n\r\n"
        writer.write(head.encode())
        async with asyncio.timeout(PATIENCE):
            text = await reader.readuntil(b'"ContractId":"34"')
        writer.close()
    finally:
        gateway.end()
    assert [i for i in ids if f'"ContractId":"{i}"' in text.decode()] == ["31", "33", "34"]


async def test_claim_refuses_older_tokens_wherever_a_contract_is(
    url: str, payload: MakePayload
) -> None:
    data = read_payload(payload()).to_json()
    ids = [contract.contract_id for contract in CONTRACTS]
    pushed_at = {i: datetime.fromisoformat("2026-11-26T13:26:05.51") for i in ids[::2]}
    token = time.time_ns() // 1000
    async with store_of(url) as store:
        await store.claim(ids, token)
        await store.publish([(i, data) for i in ids], token, pushed_at)
        assert await store.claim(ids, token + 1) == pushed_at
        refused = await store.publish([(i, data) for i in ids], token)
        assert all(isinstance(each, FencedError) for each in refused)
        with pytest.raises(FencedError):
            await store.import_contracts(CONTRACTS, token)


async def test_registry_is_written_and_read(url: str) -> None:
    async with store_of(url) as store, store_of(url) as other:
        new = [Contract(contract_id=f"new{n}", contract_name=f"NEW{n}") for n in range(6)]
        # All at once: what is watched has changed for all of them but one.
        await asyncio.gather(*((store, other)[n % 2].import_contracts([new[n]]) for n in range(6)))
        assert set(await store.contracts()) == {*CONTRACTS, *new}
        await store.remove_contracts([contract.contract_id for contract in new])
        assert len(await other.contracts()) == len(CONTRACTS)


async def test_lease_is_acquired_and_released(url: str) -> None:
    settings = StoreSettings(redis_url=url)
    status = FeedStatus(feed="a", source="webSockets", state=FeedState.LIVE, since=1, written=2)
    async with Lease(settings, "a") as one, Lease(settings, "b") as two:
        assert (await one.take()).anew
        assert not (await two.take()).leads
        assert (await one.take()).leads
        await one.write(status)
        assert await two.read() == (status, True)
        await one.release()
        assert (await two.take()).anew
        await two.release()


async def test_bars_are_kept_when_the_one_that_writes_them_is_stopped(
    url: str, payload: MakePayload
) -> None:
    today = datetime.now(zone_of(TEHRAN)).date()
    days = [(str(n), today) for n in (41, 42, 43, 44)]  # at different nodes of a cluster
    settings = BarsSettings(redis_url=url)
    tasks: list[asyncio.Task[None]] = []
    async with store_of(url) as store, Publisher(url) as publisher:
        bars = BarStore(settings, connections=store.connections)
        lease = Lease(settings, program=BARS, connections=store.connections)
        try:
            for volume in (5, 9):
                tasks.append(asyncio.create_task(BarAggregator(settings).run()))
                async with asyncio.timeout(PATIENCE):
                    while not (await lease.read())[1]:  # noqa: ASYNC110 - another task's
                        await asyncio.sleep(0.02)
                fields = {"total_volume": volume, "trade_count": volume, "date": today.isoformat()}
                state = payload(Aggregate=fields | {"time": "00:00:00"})
                await publisher.publish_many([(i, state) for i, _ in days])
                async with asyncio.timeout(PATIENCE):
                    while any(  # noqa: ASYNC110 - another task's
                        not each or each[-1].volume != volume for each in await bars.read(days)
                    ):
                        await asyncio.sleep(0.02)
                tasks[0].cancel()
                await asyncio.wait(tasks[:1])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


# -- Sentinel -------------------------------------------------------------------------------


async def test_stream_survives_a_failover_of_a_hanging_master(
    sentinel: SentinelServers, tmp_path: Path, payload: MakePayload
) -> None:
    await asyncio.to_thread(sentinel.settle)
    master, replica = sentinel.by_role()
    async with streaming(tmp_path / "gateway", sentinel.url, "1") as (_, client, publisher):
        await publisher.publish("1", payload(Aggregate={"last_price": 1}))
        while await price(client) != 1:
            pass
        # The worst failure: no connection breaks.
        master.hang()
        async with asyncio.timeout(PATIENCE):
            while sentinel.leader() != replica.port:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)
        async with asyncio.timeout(BEFORE_IDLE):
            await publish_at_last(publisher, "1", payload(Aggregate={"last_price": 2}))
            assert await price(client) == 2
        master.resume()


async def test_store_follows_a_master_that_became_a_replica(
    sentinel: SentinelServers, tmp_path: Path, payload: MakePayload
) -> None:
    # By hand, since Sentinel would close the connections to it.
    data = read_payload(payload()).to_json()
    monitor = sentinel.sentinel.client.execute_command
    with Server(tmp_path / "a") as old, Server(tmp_path / "b") as new:
        monitor("SENTINEL", "MONITOR", "other", "127.0.0.1", old.port, 1)
        async with store_of(f"redis+sentinel://{sentinel.sentinel.address}/other") as store:
            await keep(store, "1", data)
            old.client.execute_command("REPLICAOF", "127.0.0.1", new.port)
            monitor("SENTINEL", "REMOVE", "other")
            monitor("SENTINEL", "MONITOR", "other", "127.0.0.1", new.port, 1)
            version = await keep(store, "2", data)
            assert new.client.hget("ime:last:{2}", "version") == str(version)
        monitor("SENTINEL", "REMOVE", "other")


async def test_publisher_follows_a_failover_while_the_old_master_takes_writes(
    sentinel: SentinelServers, payload: MakePayload
) -> None:
    await asyncio.to_thread(sentinel.settle)
    old, new = sentinel.by_role()
    async with store_of(sentinel.url) as store:
        used = store.connections
        await keep(store, "1", read_payload(payload()).to_json())
        async with store_of(sentinel.url) as idle:
            await idle.ping()
            sentinel.fail_over()
            word = time.monotonic()
            price = 0
            while used.failovers == 0:
                price += 1
                data = read_payload(payload(Aggregate={"last_price": price})).to_json()
                await keep(store, "1", data)  # each is confirmed
                await asyncio.sleep(0.02)
            # A second is the promise. Left alone, Sentinel ends this after eight.
            assert time.monotonic() - word < FOLLOWED
            assert old.client.info("replication")["role"] == "master"
            data = read_payload(payload(Aggregate={"last_price": 0})).to_json()
            version = await keep(store, "1", data)
            assert new.client.hget("ime:last:{1}", "version") == str(version)
            # A connection that is not in use finds it out as well.
            async with asyncio.timeout(FOLLOWED):
                while idle.connections.failovers == 0:  # noqa: ASYNC110 - another task's
                    await asyncio.sleep(0.02)
            assert (used.failovers, idle.connections.failovers) == (1, 1)


async def test_command_waiting_for_a_hanging_master_is_sent_to_the_next_one(
    sentinel: SentinelServers, payload: MakePayload
) -> None:
    await asyncio.to_thread(sentinel.settle)
    old, new = sentinel.by_role()
    settings = StoreSettings(redis_url=sentinel.url, redis_timeout=10 * PATIENCE)
    async with Store(settings) as store:
        await keep(store, "1", read_payload(payload()).to_json())
        old.hang()
        try:
            # Neither times out soon by itself: one waits for an answer, the other connects.
            states = [read_payload(payload(Aggregate={"last_price": n})).to_json() for n in (1, 2)]
            waiting = asyncio.gather(*map(keep, (store, store), "12", states))
            await asyncio.to_thread(sentinel.fail_over)
            async with asyncio.timeout(PATIENCE):
                versions = await waiting
        finally:
            old.resume()
        for contract_id, version in zip("12", versions, strict=True):
            assert new.client.hget(f"ime:last:{{{contract_id}}}", "version") == str(version)


async def test_hanging_sentinels_do_not_delay_a_failover(
    sentinel: SentinelServers, tmp_path: Path, payload: MakePayload
) -> None:
    await asyncio.to_thread(sentinel.settle)
    master, _ = sentinel.by_role()
    conf = tmp_path / "second.conf"
    conf.write_text(f"sentinel monitor {MASTER} 127.0.0.1 {master.port} 1\n")
    data = [read_payload(payload(Aggregate={"last_price": n})).to_json() for n in range(200)]
    with Server(tmp_path / "second", str(conf), "--sentinel") as second:
        url = f"redis+sentinel://{second.address},{sentinel.sentinel.address}/{MASTER}"
        async with Store(StoreSettings(redis_url=url, redis_timeout=10 * PATIENCE)) as store:
            await keep(store, "1", data[0])
            second.hang()
            try:
                sentinel.fail_over()
                async with asyncio.timeout(FOLLOWED):
                    while store.connections.failovers == 0:  # noqa: ASYNC110 - another task's
                        await asyncio.sleep(0.02)
                await keep(store, "1", data[-1])
                sentinel.sentinel.hang()
                # No Sentinel answers now. The master does, so no command waits for them.
                async with asyncio.timeout(PATIENCE):
                    for n in range(1, 200):
                        await keep(store, "1", data[n])
                        await asyncio.sleep(0.01)
            finally:
                sentinel.sentinel.resume()
                second.resume()


async def test_missing_sentinel_or_unknown_master_is_an_error(
    sentinel: SentinelServers,
) -> None:
    place = f"127.0.0.1:{free_port()}"
    for url in (
        f"redis+sentinel://u:secret@{place}/{MASTER}?sentinel_password=secret",
        f"redis+sentinel://u:secret@{sentinel.sentinel.address}/{MASTER}2",
    ):
        async with store_of(url) as store:
            with pytest.raises(StoreError, match="no Sentinel answers that names") as caught:
                await store.ping()
        text = "".join(traceback.format_exception(caught.value))
        assert "secret" not in text


# -- Cluster --------------------------------------------------------------------------------


async def test_moved_slots_of_a_cluster_are_followed(
    cluster: ClusterServers, payload: MakePayload
) -> None:
    source, target, _ = cluster.primaries
    contract_id = contract_at(source, cluster)
    states = [read_payload(payload(Aggregate={"last_price": n})).to_json() for n in range(3)]
    async with store_of(cluster.url) as store:
        await store.import_contracts(CONTRACTS)
        first = await keep(store, contract_id, states[0])
        with cluster.moving(contract_id, source, target):
            # The source sends us to the target, which does not have the script.
            target.client.script_flush()
            second = await keep(store, contract_id, states[1])
        third = await keep(store, contract_id, states[2])
        assert first < second < third
        key = store.keys.last(contract_id)
        assert target.client.hget(key, "version") == str(third)

        source = cluster.primary_of(store.keys.contracts)
        target = next(node for node in cluster.primaries if node is not source)
        with cluster.moving(store.keys.contracts, source, target):
            pass
        new = Contract(contract_id="moved", contract_name="MOVED")
        assert (await store.import_contracts([new])).added == ("moved",)
        await store.remove_contracts(["moved"])


async def test_moved_slot_counts_as_a_failover(
    cluster: ClusterServers, payload: MakePayload
) -> None:
    source, target, _ = cluster.primaries
    contract_id = contract_at(source, cluster)
    data = read_payload(payload(Aggregate={"last_price": 8})).to_json()
    async with store_of(cluster.url) as store:
        await keep(store, contract_id, data)
        before = store.connections.failovers
        with cluster.moving(contract_id, source, target):
            pass
        async with asyncio.timeout(FOLLOWED):
            while store.connections.failovers == before:  # noqa: ASYNC110 - another task's
                await asyncio.sleep(0.02)


async def test_failover_is_followed_with_the_old_primary_in_any_state(
    cluster: ClusterServers, payload: MakePayload
) -> None:
    """The old primary hangs, or is cut off from the others and still takes writes."""
    states = [read_payload(payload(Aggregate={"last_price": n})).to_json() for n in range(3)]
    for hangs in (True, False):
        await asyncio.to_thread(cluster.settle)
        [replica] = (node for node in cluster.servers if node not in cluster.primaries)
        old = next(node for node in cluster.primaries if cluster.replicas_of(node))
        contract_id = contract_at(old, cluster)
        settings = StoreSettings(redis_url=cluster.url, redis_timeout=10 * PATIENCE)
        async with Store(settings) as store:
            await keep(store, contract_id, states[0])
            before = store.connections.failovers
            if hangs:
                old.hang()
                waiting = asyncio.create_task(keep(store, contract_id, states[1]))
            else:
                cluster.cut_off(old)
            await asyncio.to_thread(cluster.take_over, old, replica)
            try:
                async with asyncio.timeout(FOLLOWED):
                    while store.connections.failovers == before:  # noqa: ASYNC110 - another task's
                        await asyncio.sleep(0.02)
                    if hangs:
                        version = await waiting
                    else:
                        assert old.client.info("replication")["role"] == "master"
                        version = await keep(store, contract_id, states[2])
                assert replica.client.hget(f"ime:last:{{{contract_id}}}", "version") == str(version)
            finally:
                old.resume() if hangs else cluster.reach_again(old)
    await asyncio.to_thread(cluster.settle)


async def test_messages_lost_between_cluster_nodes_are_read_again(
    cluster: ClusterServers, tmp_path: Path, payload: MakePayload
) -> None:
    async with streaming(tmp_path / "gateway", cluster.url, "1") as (_, client, publisher):
        first = await publisher.publish("1", payload(Aggregate={"last_price": 1}))
        while await price(client) != 1:
            pass
        # Kept, but its message did not arrive.
        data = read_payload(payload(Aggregate={"last_price": 2})).to_json()
        state = {"data": data, "version": first.version + 1}
        cluster.primary_of("{1}").client.hset("ime:last:{1}", mapping=state)
        await asyncio.to_thread(cluster.break_links, cluster.listening())
        assert await price(client) == 2


async def test_stream_survives_a_hanging_cluster_node(
    cluster: ClusterServers, tmp_path: Path, payload: MakePayload
) -> None:
    ids = {node: contract_at(node, cluster) for node in cluster.primaries}
    async with streaming(tmp_path / "gateway", cluster.url, *ids.values()) as running:
        _, client, publisher = running
        listening = cluster.listening()
        # The contract itself lives elsewhere.
        contract_id = next(i for node, i in ids.items() if node is not listening)
        await publisher.publish(contract_id, payload(Aggregate={"last_price": 3}))
        while await price(client) != 3:
            pass
        listening.hang()
        try:
            # Before anybody has noticed: the message is lost, and the state read elsewhere,
            # although that of another contract cannot be.
            await publish_at_last(publisher, contract_id, payload(Aggregate={"last_price": 4}))
            assert await price(client) == 4
            async with asyncio.timeout(BEFORE_IDLE):
                await asyncio.to_thread(cluster.listening, hanging=listening)
            await publish_at_last(publisher, contract_id, payload(Aggregate={"last_price": 5}))
            assert await price(client) == 5
        finally:
            listening.resume()
    await asyncio.to_thread(cluster.settle)


async def test_stream_survives_a_failover_of_a_primary(
    cluster: ClusterServers, tmp_path: Path, payload: MakePayload
) -> None:
    primary = next(node for node in cluster.primaries if cluster.replicas_of(node))
    contract_id = contract_at(primary, cluster)
    async with streaming(tmp_path / "gateway", cluster.url, contract_id) as (_, client, publisher):
        await publisher.publish(contract_id, payload(Aggregate={"last_price": 5}))
        while await price(client) != 5:
            pass
        primary.kill()
        await publish_at_last(publisher, contract_id, payload(Aggregate={"last_price": 6}))
        assert await price(client) == 6
        async with store_of(cluster.url) as store:
            assert len(await store.contracts()) == len(CONTRACTS)
    primary.start()


async def test_lost_shard_affects_its_contracts_only(
    cluster: ClusterServers, payload: MakePayload
) -> None:
    await asyncio.to_thread(cluster.settle)
    lost, kept, _ = sorted(cluster.primaries, key=lambda node: cluster.replicas_of(node))
    mine, other = contract_at(lost, cluster), contract_at(kept, cluster)
    data = read_payload(payload(Aggregate={"last_price": 7})).to_json()
    async with store_of(cluster.url) as store:
        # The other shard does not know the script.
        kept.client.script_flush()
        lost.client.save()
        lost.kill()
        failed, stored = await store.publish([(mine, data), (other, data)])
        assert "refused the connection" in str(failed)
        assert isinstance(stored, Stored)
        assert (await store.last([other]))[other].version == stored.version
        with pytest.raises(StoreError, match="refused the connection"):
            await store.last([mine, other])
        token = time.time_ns() // 1000 + 1_000_000
        with pytest.raises(StoreError, match="refused the connection") as caught:
            await store.claim([mine, other], token)
        if isinstance(caught.value, IncompleteError):  # the registry is not on the lost one
            assert set(caught.value.left) == {mine}
        [refused] = await store.publish([(other, data)], token - 1)
        assert isinstance(refused, FencedError)
        with pytest.raises(StoreError, match="refused the connection"):
            await store.ping()
    lost.start()


async def test_malformed_or_unreachable_cluster_is_an_error(own_valkey: EmbeddedValkey) -> None:
    place = own_valkey.url.removeprefix("redis://")
    async with store_of(f"redis+cluster://{place}") as store:
        with pytest.raises(StoreError, match="cluster support disabled"):
            await store.ping()
    places = f"127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    async with store_of(f"redis+cluster://u:secret@{places}") as store:
        with pytest.raises(StoreError, match=f"^Redis at {places} refused the connection"):
            await store.publish([("1", b"{}")])
