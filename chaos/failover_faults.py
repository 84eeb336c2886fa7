"""Faults of stores with several servers: failovers, takeovers, slots that move."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from chaos.fault import CLUSTER, SENTINEL, fault, hold
from chaos.states import IDS
from chaos.stores import ClusterStore, SentinelStore
from chaos.testbed import Testbed
from tests.support.servers import MASTER, Server


@fault("Sentinel failover", SENTINEL)
async def sentinel_failover(testbed: Testbed, chance: random.Random) -> str:
    """SENTINEL FAILOVER: promote a replica while the master runs."""
    sentinel = chance.choice(_sentinel(testbed).cluster.sentinels)

    async def ask() -> None:
        await asyncio.to_thread(sentinel.client.execute_command, "SENTINEL", "FAILOVER", MASTER)

    return await _until_promoted(testbed, chance, ask)


@fault("Sentinel's master killed", SENTINEL)
async def master_killed(testbed: Testbed, chance: random.Random) -> str:
    """Kill the master, and start it when another server is the master."""
    [master] = await testbed.store.primaries()

    async def kill() -> None:
        master.kill()

    said = await _until_promoted(testbed, chance, kill)
    await asyncio.to_thread(master.start)
    return said


@fault("Sentinel's master frozen", SENTINEL)
async def master_frozen(testbed: Testbed, chance: random.Random) -> str:
    """SIGSTOP the master, and SIGCONT when another server is the master."""
    [master] = await testbed.store.primaries()

    async def hang() -> None:
        master.hang()

    said = await _until_promoted(testbed, chance, hang)
    master.resume()
    return said


@fault("a Sentinel killed", SENTINEL)
async def sentinel_killed(testbed: Testbed, chance: random.Random) -> str:
    """Kill one of three Sentinels, and start it."""
    sentinel = chance.choice(_sentinel(testbed).cluster.sentinels)
    sentinel.kill()
    said = await hold(testbed, chance, 0.3, 2)
    await asyncio.to_thread(sentinel.start)
    testbed.cleanups.append(testbed.settle)
    return said


async def _until_promoted(
    testbed: Testbed, chance: random.Random, inject: Callable[[], Awaitable[None]]
) -> str:
    """Inject a fault, and wait until Sentinel names another master."""
    before = await testbed.store.primaries()
    await inject()

    async def promoted() -> bool:
        primaries = await testbed.store.primaries()
        return bool(primaries) and primaries != before

    await testbed.until(promoted, "Sentinel names another master")
    testbed.cleanups.append(testbed.settle)
    return await hold(testbed, chance, 0, 1)


def _sentinel(testbed: Testbed) -> SentinelStore:
    store = testbed.store
    if not isinstance(store, SentinelStore):
        raise TypeError(f"the store must be under Sentinel, got {store.kind}")
    return store


@fault("cluster failover", CLUSTER)
async def cluster_failover(testbed: Testbed, chance: random.Random) -> str:
    """CLUSTER FAILOVER: a replica and its primary change roles in agreement."""
    return await _fail_over(testbed, chance)


@fault("cluster takeover", CLUSTER)
async def cluster_takeover(testbed: Testbed, chance: random.Random) -> str:
    """CLUSTER FAILOVER TAKEOVER: a replica takes its primary's slots without agreement."""
    return await _fail_over(testbed, chance, "TAKEOVER")


async def _fail_over(testbed: Testbed, chance: random.Random, *option: str) -> str:
    primaries = await testbed.store.primaries()
    replica = chance.choice([s for s in testbed.store.servers if s not in primaries])
    await asyncio.to_thread(replica.client.execute_command, "CLUSTER", "FAILOVER", *option)

    async def promoted() -> bool:
        return replica in await testbed.store.primaries()

    await testbed.until(promoted, "the replica is a primary")
    testbed.cleanups.append(testbed.settle)
    return await hold(testbed, chance, 0, 1)


@fault("cluster's primary killed", CLUSTER)
async def primary_killed(testbed: Testbed, chance: random.Random) -> str:
    """Kill a primary, and start it when its replica is a primary."""
    primary, said = await _until_replaced(testbed, chance, lambda server: server.kill())
    await asyncio.to_thread(primary.start)
    return said


@fault("cluster's primary frozen", CLUSTER)
async def primary_frozen(testbed: Testbed, chance: random.Random) -> str:
    """SIGSTOP a primary, and SIGCONT when its replica is a primary."""
    primary, said = await _until_replaced(testbed, chance, lambda server: server.hang())
    primary.resume()
    return said


async def _until_replaced(
    testbed: Testbed, chance: random.Random, inject: Callable[[Server], None]
) -> tuple[Server, str]:
    before = await testbed.store.primaries()
    primary = chance.choice(before)
    inject(primary)

    async def replaced() -> bool:
        return len({*await testbed.store.primaries()} - {primary}) == len(before)

    await testbed.until(replaced, "the replica is a primary")
    testbed.cleanups.append(testbed.settle)
    return primary, await hold(testbed, chance, 0, 1)


@fault("slot moved", CLUSTER)
async def slot_moved(testbed: Testbed, chance: random.Random) -> str:
    """Move a contract's slot to another primary, with a pause before the last step."""
    cluster = _cluster(testbed).cluster
    contract_id = chance.choice(IDS)
    key = f"{{{contract_id}}}"
    source = await asyncio.to_thread(cluster.primary_of, key)
    primaries = await testbed.store.primaries()
    target = chance.choice([server for server in primaries if server is not source])
    moving = cluster.moving(key, source, target)
    await asyncio.to_thread(moving.__enter__)
    said = await hold(testbed, chance, 0, 2)
    await asyncio.to_thread(moving.__exit__, None, None, None)
    return f"of contract {contract_id}, {said}"


@fault("cluster's links broken", CLUSTER)
async def links_broken(testbed: Testbed, chance: random.Random) -> str:
    """Break the links by which a node gets messages that are published on others."""
    node = chance.choice(await testbed.store.primaries())
    await asyncio.to_thread(_cluster(testbed).cluster.break_links, node)
    return await hold(testbed, chance, 0, 1)


def _cluster(testbed: Testbed) -> ClusterStore:
    store = testbed.store
    if not isinstance(store, ClusterStore):
        raise TypeError(f"the store must be a cluster, got {store.kind}")
    return store
