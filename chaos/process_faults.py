"""Faults of the service's own processes, and of their logs."""

from __future__ import annotations

import asyncio
import random
import signal
from contextlib import suppress
from typing import Final

from chaos.fault import SINGLE, fault, hold
from chaos.invariants import Invariant, Violation
from chaos.proxy import Mode
from chaos.testbed import GATEWAYS, PUBLISHER, Testbed

_STOP_LIMIT: Final = 12.0  # seconds within which SIGTERM ends a gateway
_REQUESTS: Final = 40  # whose log lines are more than a pipe of 4 KiB takes
_LEASE: Final = (3.3, 7.0)  # seconds, longer than the lease of the leading feed


@fault("gateway killed")
async def gateway_killed(testbed: Testbed, chance: random.Random) -> str:
    """Kill it, and start it."""
    name = chance.choice(GATEWAYS)
    testbed.frontend.excused.add(name)
    testbed.processes[name].kill()
    said = await hold(testbed, chance, 0, 2)
    testbed.restart(name)
    return f"{name}, {said}"


@fault("gateway stopped")
async def gateway_stopped(testbed: Testbed, chance: random.Random) -> str:
    """Stop it with SIGTERM, and start it when it has ended."""
    name = chance.choice(GATEWAYS)
    testbed.frontend.excused.add(name)
    status, seconds = await testbed.processes[name].stop(_STOP_LIMIT)
    if status != 0:
        text = f"exit status {status}, {seconds:.1f} s after SIGTERM"
        testbed.report(Violation(Invariant.RUNS, name, "", text))
    said = await hold(testbed, chance, 0, 1)
    testbed.restart(name)
    return f"{name} within {seconds:.1f} s, {said}"


@fault("gateway paused")
async def gateway_paused(testbed: Testbed, chance: random.Random) -> str:
    """Suspend it with SIGSTOP, and continue it with SIGCONT."""
    name = chance.choice(GATEWAYS)
    testbed.processes[name].signal(signal.SIGSTOP)
    said = await hold(testbed, chance, 0.5, 6)
    testbed.processes[name].signal(signal.SIGCONT)
    return f"{name}, {said}"


@fault("publisher killed")
async def publisher_killed(testbed: Testbed, chance: random.Random) -> str:
    """Kill it, and start it."""
    testbed.processes[PUBLISHER].kill()
    said = await hold(testbed, chance, 0, 2)
    testbed.restart(PUBLISHER)
    return said


@fault("leading feed killed")
async def leader_killed(testbed: Testbed, chance: random.Random) -> str:
    """Kill it; it starts again after the standby has taken over."""
    name = await testbed.leader()
    if not name:
        return "no feed led"
    testbed.processes[name].kill()
    said = await hold(testbed, chance, 0, 2)

    async def start() -> None:
        testbed.restart(name)

    testbed.cleanups.append(start)
    return f"{name}, {said}"


@fault("leading feed paused")
async def leader_paused(testbed: Testbed, chance: random.Random) -> str:
    """SIGSTOP for longer than its lease, SIGCONT."""
    name = await testbed.leader()
    if not name:
        return "no feed led"
    testbed.processes[name].signal(signal.SIGSTOP)
    said = await hold(testbed, chance, *_LEASE)
    testbed.processes[name].signal(signal.SIGCONT)
    return f"{name}, {said}"


@fault("leading feed stalled", SINGLE)
async def leader_stalled(testbed: Testbed, chance: random.Random) -> str:
    """Hold back everything on its link to the store for longer than its lease; deliver it then."""
    name = await testbed.leader()
    if not name:
        return "no feed led"
    [proxy] = [proxy for proxy in testbed.store.proxies if proxy.name == name]
    await proxy.set_mode(Mode.STALL)
    said = await hold(testbed, chance, *_LEASE)
    await proxy.set_mode(Mode.PASS)
    return f"{name}, {said}"


@fault("log closed")
async def log_closed(testbed: Testbed, chance: random.Random) -> str:
    """Close the read end of its log for as long as it runs, and break connections it logs of."""
    name = await _with_log(testbed, chance)
    testbed.processes[name].close_log()
    await _break_connections(testbed)
    return f"{name}, {await hold(testbed, chance, 0.5, 2)}"


@fault("log not read")
async def log_not_read(testbed: Testbed, chance: random.Random) -> str:
    """Fill the pipe of its log until the testbed has recovered, and break connections."""
    name = await _with_log(testbed, chance)
    process = testbed.processes[name]
    process.stop_reading_log()
    if name in GATEWAYS:
        await asyncio.gather(*(_request(testbed.frontend.ports[name]) for _ in range(_REQUESTS)))
    await _break_connections(testbed)

    async def read() -> None:
        process.read_log()

    testbed.cleanups.append(read)
    return f"{name}, {await hold(testbed, chance, 0.5, 2)}"


async def _with_log(testbed: Testbed, chance: random.Random) -> str:
    return chance.choice([*GATEWAYS, await testbed.leader() or GATEWAYS[0]])


async def _break_connections(testbed: Testbed) -> None:
    for kind in ("pubsub", "normal"):
        await testbed.store.run("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


async def _request(port: int) -> None:
    """Ask for a stream of an unknown contract, which is logged."""
    path = "/live/data/sse/contract/id?contract_id=none"
    with suppress(OSError):
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: chaos\r\n\r\n".encode())
            await reader.read(1)
            writer.close()
