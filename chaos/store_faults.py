"""Faults of the store, and of the connections to it, that any kind of store may have."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from chaos.fault import SINGLE, fault, hold
from chaos.market import now
from chaos.proxy import Mode, Proxy
from chaos.states import IDS
from chaos.testbed import Testbed

_IN_FLIGHT: Final = 0.4  # seconds after which everything that was published is stored
_DEFAULT_LIMIT: Final = "pubsub 33554432 8388608 60"  # Valkey's


@fault("store killed, back empty", SINGLE)
async def killed_empty(testbed: Testbed, chance: random.Random) -> str:
    """Kill it, and start it without its file."""
    [server] = testbed.store.servers
    server.kill()
    said = await hold(testbed, chance, 0, 2.5)
    server.delete_data()
    await asyncio.to_thread(server.start)
    return said


@fault("store killed, back with its data", SINGLE)
async def killed(testbed: Testbed, chance: random.Random) -> str:
    """SAVE while nothing changes, kill it, and start it."""
    testbed.market.moving = False
    await asyncio.sleep(_IN_FLIGHT)
    await testbed.store.run("SAVE")
    testbed.market.moving = True
    return await _kill_and_start(testbed, chance)


@fault("store killed, back with older data", SINGLE)
async def killed_older(testbed: Testbed, chance: random.Random) -> str:
    """SAVE at A, let the market go on to B, kill it, and start it with A."""
    await testbed.store.run("SAVE")
    await asyncio.sleep(chance.uniform(0.3, 1.5))
    return await _kill_and_start(testbed, chance)


async def _kill_and_start(testbed: Testbed, chance: random.Random) -> str:
    [server] = testbed.store.servers
    server.kill()
    said = await hold(testbed, chance, 0, 2.5)
    await asyncio.to_thread(server.start)
    return said


@fault("store killed, back with older data that is true again", SINGLE)
async def killed_older_and_true(testbed: Testbed, chance: random.Random) -> str:
    """SAVE at A, let the market go on to B and back to A, kill it, and start it with A."""
    [server] = testbed.store.servers
    numbers = dict(testbed.market.numbers)
    await asyncio.sleep(_IN_FLIGHT)
    await testbed.store.run("SAVE")
    await asyncio.sleep(chance.uniform(0.3, 1.5))
    server.kill()
    testbed.market.moving = False
    testbed.market.set(numbers)
    seconds = chance.uniform(0, 1.5)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(server.start)
    return f"for {seconds:.1f} s, no changes afterwards"


@fault("store frozen", SINGLE)
async def frozen(testbed: Testbed, chance: random.Random) -> str:
    """SIGSTOP, SIGCONT."""
    [server] = testbed.store.servers
    server.hang()
    said = await hold(testbed, chance, 0.5, 8)
    server.resume()
    return said


@fault("links stalled")
async def stalled(testbed: Testbed, chance: random.Random) -> str:
    """Delay all data, and deliver it afterwards."""
    proxies = _some_proxies(testbed, chance)
    for proxy in proxies:
        await proxy.set_mode(Mode.STALL)
    said = await hold(testbed, chance, 0.5, 7)
    for proxy in proxies:
        await proxy.set_mode(Mode.PASS)
    return f"{_names(proxies)}, {said}"


@fault("links half-open")
async def half_open(testbed: Testbed, chance: random.Random) -> str:
    """Discard all data on the present connections, which stay open."""
    proxies = _some_proxies(testbed, chance)
    for proxy in proxies:
        proxy.make_half_open()
    return f"{_names(proxies)}, {await hold(testbed, chance, 0, 2)}"


@fault("links reset")
async def reset(testbed: Testbed, chance: random.Random) -> str:
    """Reset all connections, once or several times."""
    proxies = _some_proxies(testbed, chance)
    times = chance.randint(1, 3)
    for _ in range(times):
        for proxy in proxies:
            proxy.reset()
        await asyncio.sleep(chance.uniform(0, 0.5))
    return f"{_names(proxies)}, {times} times"


@fault("links refused")
async def refused(testbed: Testbed, chance: random.Random) -> str:
    """Reset all connections, and refuse new ones for a while."""
    proxies = _some_proxies(testbed, chance)
    for proxy in proxies:
        await proxy.set_mode(Mode.REFUSE)
    said = await hold(testbed, chance, 0.3, 4)
    for proxy in proxies:
        await proxy.set_mode(Mode.PASS)
    return f"{_names(proxies)}, {said}"


def _some_proxies(testbed: Testbed, chance: random.Random) -> list[Proxy]:
    proxies = testbed.store.proxies
    return chance.sample(proxies, chance.choice([1, 1, 2, len(proxies)]))


def _names(proxies: list[Proxy]) -> str:
    return ", ".join(sorted(proxy.name for proxy in proxies))


@fault("store out of memory")
async def out_of_memory(testbed: Testbed, chance: random.Random) -> str:
    """Refuse every write with OOM."""
    await testbed.store.run("CONFIG", "SET", "maxmemory", "1")
    said = await hold(testbed, chance, 0.5, 3)
    await testbed.store.run("CONFIG", "SET", "maxmemory", "0")
    return said


@fault("FLUSHALL")
async def flushed(testbed: Testbed, chance: random.Random) -> str:
    """Delete all data while the store runs."""
    begun = now()
    await testbed.store.run("FLUSHALL")
    testbed.timeline.emptied(begun, now(), IDS)
    return await hold(testbed, chance, 0, 1)


@fault("CLIENT KILL")
async def clients_killed(testbed: Testbed, chance: random.Random) -> str:
    """Close the connections that are subscribed, the others, or all of them."""
    kinds = chance.choice([["pubsub"], ["normal"], ["pubsub", "normal"]])
    for kind in kinds:
        await testbed.store.run("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
    return f"{', '.join(kinds)}, {await hold(testbed, chance, 0, 1)}"


@fault("output buffer limit")
async def output_limited(testbed: Testbed, chance: random.Random) -> str:
    """Close each subscribed connection with the first message that it is sent."""
    await testbed.store.run("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1 0 0")
    said = await hold(testbed, chance, 0.3, 2)
    await testbed.store.run("CONFIG", "SET", "client-output-buffer-limit", _DEFAULT_LIMIT)
    return said


@fault("SCRIPT FLUSH")
async def scripts_flushed(testbed: Testbed, chance: random.Random) -> str:
    """Forget all scripts."""
    await testbed.store.run("SCRIPT", "FLUSH")
    return await hold(testbed, chance, 0, 1)
