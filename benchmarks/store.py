"""``python -m benchmarks.store``: how many gateways one server of Redis or Valkey carries.

Each gateway is a connection that listens to all channels. States are published as feeds do it,
by the script, or (to compare sharded Pub/Sub) by a plain PUBLISH and SPUBLISH. It writes the CPU
time of the servers to `docs/store.json`, from which `docgen` makes the tables of sizing.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import cpu_of
from benchmarks.publications import data_of
from benchmarks.report import machine
from ime_live.settings import StoreSettings
from ime_live.store.keys import Keys
from ime_live.store.replies import command as encoded
from ime_live.store.store import Store
from tests.support.servers import ClusterServers, Valkey, until

CONTRACTS: Final = 500
PER_SECOND: Final = 500  # updates, in bursts
BURST: Final = 10
SECONDS: Final = 4.0
GATEWAYS: Final = (0, 4, 16, 64)

_DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "store.json"
_KEYS: Final = Keys("ime:")
_CHANNELS: Final = [_KEYS.live(str(n)) for n in range(CONTRACTS)]

Subscriptions = Sequence[tuple[int, str, Sequence[str]]]
"""Port, command and channels of each connection."""


async def _sink(subscriptions: Subscriptions) -> None:
    """Read and drop until the input ends, and print the number of bytes."""
    received = 0

    async def read(port: int, command: str, channels: Sequence[str]) -> None:
        nonlocal received
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        # Those of SSUBSCRIBE must have one slot, so each has a command of its own.
        for channel in channels:
            writer.write(encoded(command, channel))
        while data := await reader.read(1 << 18):
            received += len(data)

    tasks = [asyncio.create_task(read(*each)) for each in subscriptions]
    await asyncio.sleep(1)
    received = 0
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    for task in tasks:
        task.cancel()
    print(received, flush=True)


@contextmanager
def sinks(subscriptions: Subscriptions, deliveries: list[int]) -> Iterator[None]:
    """Gateways that read and drop; ``deliveries`` gets the number of bytes that they had."""
    command = [sys.executable, "-m", "benchmarks.store", "--sink"]
    with subprocess.Popen(  # noqa: S603 - this program
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None  # noqa: S101 - for the type checker
        assert process.stdout is not None  # noqa: S101 - the same
        process.stdin.write(json.dumps(subscriptions) + "\n")
        process.stdin.flush()
        process.stdout.readline()
        yield
        time.sleep(0.5)  # the last messages arrive
        process.stdin.write("\n")
        process.stdin.flush()
        deliveries.append(int(process.stdout.readline()))


def _pid(server: Valkey) -> int:
    return int(server.client.info("server")["process_id"])


def measured(servers: Sequence[Valkey], work: Iterator[int]) -> tuple[list[float], int]:
    """The CPU of each server [µs an update] while bursts are published, and how many they were."""
    pids = [_pid(each) for each in servers]
    before = [cpu_of(pid) for pid in pids]
    updates, began = 0, time.perf_counter()
    while (due := began + updates / PER_SECOND) < began + SECONDS:
        time.sleep(max(0.0, due - time.perf_counter()))
        updates += next(work)
    time.sleep(0.3)
    return [(cpu_of(p) - b) / updates for p, b in zip(pids, before, strict=True)], updates


def by_script(server: Valkey) -> Iterator[int]:
    """Publish bursts as feeds do."""
    number = 0
    with asyncio.Runner() as runner:
        store = Store(StoreSettings(redis_url=server.url))
        try:
            while True:
                burst = [(str(n % CONTRACTS), data_of(n)) for n in range(number, number + BURST)]
                runner.run(store.publish(burst))
                number += BURST
                yield BURST
        finally:
            runner.run(store.aclose())


def plainly(primaries: dict[str, Valkey], command: str) -> Iterator[int]:
    """Publish bursts by a command, each channel at the server of its slot."""
    number = 0
    while True:
        pipes: dict[int, Any] = {}
        for n in range(number, number + BURST):
            channel = _CHANNELS[n % CONTRACTS]
            server = primaries[channel]
            pipe = pipes.setdefault(server.port, server.client.pipeline(transaction=False))
            pipe.execute_command(command, channel, data_of(n))
        for pipe in pipes.values():
            pipe.execute()
        number += BURST
        yield BURST


def _checked(received: list[int], updates: int, gateways: int) -> None:
    wanted = updates * gateways * len(data_of(1)) * 0.95
    if received[-1] < wanted:
        sys.exit(f"only {received[-1]} of {wanted:.0f} bytes were delivered")


def one_server(folder: Path) -> dict[str, float]:
    """One server, and more and more gateways."""
    found = {}
    for gateways in GATEWAYS:
        received: list[int] = []
        with Valkey(folder / f"one{gateways}", "--save", "") as server:
            with sinks([(server.port, "SUBSCRIBE", _CHANNELS)] * gateways, received):
                [cpu], updates = measured([server], by_script(server))
            _checked(received, updates, gateways)
        found[str(gateways)] = round(cpu, 2)
        print(f"one server, {gateways} gateways: {cpu:.1f} µs an update", flush=True)
    return found


def _follows(replica: Valkey) -> bool:
    return bool(replica.client.info("replication")["master_link_status"] == "up")


def relay(folder: Path) -> dict[str, list[float]]:
    """A primary without gateways, and two replicas with 16 each."""
    received: list[int] = []
    with ExitStack() as stack:
        soon = ("--save", "", "--repl-diskless-sync-delay", "0")
        primary = stack.enter_context(Valkey(folder / "primary", *soon))
        options = (*soon, "--replicaof", f"127.0.0.1 {primary.port}")
        replicas = [stack.enter_context(Valkey(folder / f"r{n}", *options)) for n in range(2)]
        for each in replicas:
            until(partial(_follows, each))
        ports = [each.port for each in replicas for _ in range(16)]
        with sinks([(port, "SUBSCRIBE", _CHANNELS) for port in ports], received):
            cpu, updates = measured([primary, *replicas], by_script(primary))
        _checked(received, updates, len(ports))
    print(f"primary {cpu[0]:.1f}, replicas {cpu[1]:.1f} and {cpu[2]:.1f} µs an update", flush=True)
    return {"primary": [round(cpu[0], 2)], "replicas": [round(each, 2) for each in cpu[1:]]}


def cluster(folder: Path) -> dict[str, list[float]]:
    """Three primaries and 16 gateways, with PUBLISH and with SPUBLISH."""
    found = {}
    with ClusterServers(folder, replicas=0) as servers:
        nodes: list[Any] = servers.primaries
        primaries: dict[str, Any] = {each: servers.primary_of(each) for each in _CHANNELS}
        by_node = {
            node.port: [each for each in _CHANNELS if primaries[each] is node] for node in nodes
        }
        for command, subscriptions in (
            # A gateway listens to one node, which has the messages of all.
            (
                "PUBLISH",
                [(nodes[n % len(nodes)].port, "SUBSCRIBE", _CHANNELS) for n in range(16)],
            ),
            # Or to every node, for the channels of its slots: a command has those of one slot.
            (
                "SPUBLISH",
                [
                    (port, "SSUBSCRIBE", channels)
                    for port, channels in by_node.items()
                    for _ in range(16)
                ],
            ),
        ):
            received: list[int] = []
            with sinks(subscriptions, received):
                cpu, updates = measured(nodes, plainly(primaries, command))
            _checked(received, updates, 16)
            found[command] = [round(each, 2) for each in cpu]
            print(f"{command}: {found[command]} µs an update at each node", flush=True)
    return found


def main() -> None:
    """Measure, and write the figures; ``--sink`` is for the processes that it starts."""
    if sys.argv[1:2] == ["--sink"]:
        asyncio.run(_sink(json.loads(sys.stdin.readline())))
        return
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        figures = {
            "machine": machine(),
            "contracts": CONTRACTS,
            "updates_per_second": PER_SECOND,
            "one_server": one_server(folder),
            "relay": relay(folder),
            "cluster": cluster(folder),
        }
    _DOCUMENT.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"written to docs/{_DOCUMENT.name}")


if __name__ == "__main__":
    main()
