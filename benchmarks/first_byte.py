"""The first byte: latency from a publication to one client, on an idle machine.

redis-py alone, in a process on the server's core, is measured beside it. Its latency is that of
publishing, of Redis and of waking a reader; the gateway and its client's socket add the rest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import partial
from typing import Final

from benchmarks.load import Clients
from benchmarks.loads import FirstByte, Result
from benchmarks.processes import ROOT, SERVER_CORE, Contender, Running, free_port, tokens
from benchmarks.publications import RedisPublisher


def _not_a_server(port: int, redis: int) -> Running:
    raise RuntimeError(f"redis-py alone does not serve: {port}, {redis}")


BARE_SUBSCRIBER: Final = Contender(
    "redis-py alone", None, _not_a_server, "Everything: it is a subscriber, not a server."
)


def measure_first_byte(contender: Contender, load: FirstByte, redis: int) -> Result:
    """Publish one update at a time, and see how old each is where it arrives.

    Raises:
        RuntimeError: the server does not start, or messages are lost.
    """
    count = int(load.seconds * load.per_second)
    if contender is BARE_SUBSCRIBER:
        ages = _bare(count, load, redis)
    else:
        ages = _served(contender, count, load, redis)
    result = Result(offered=count, delivered=len(ages))
    result.take_latencies(ages)
    return result


def warm_up(running: Running, clients: Clients) -> None:
    """Warm a server up with a few clients, which then leave.

    The allocations and compilations for a first client are no cost of a connection.
    """
    requests = [running.request_of([0], token) for token in tokens(20, "warming up")]
    clients.connect(running.port, requests)
    for _ in range(20):
        running.publisher.publish([0])
        clients.drain(0.02)
    clients.forget()
    time.sleep(0.3)


def _served(contender: Contender, count: int, load: FirstByte, redis: int) -> list[int]:
    running = contender.start(free_port(), redis)
    clients = Clients(1, tls=running.tls, joined_messages=running.joins_messages)
    try:
        warm_up(running, clients)
        clients.connect(running.port, [running.request_of([0], tokens(1)[0])])
        clients.drain(0.5)
        clients.reset()
        for _ in range(count):
            before = clients.tally.messages
            running.publisher.publish([0])
            clients.drain(1.0, partial(_has_come, clients, before))
            time.sleep(1 / load.per_second)
        return clients.tally.latencies
    finally:
        clients.close()
        running.stop()


def _has_come(clients: Clients, before: int) -> bool:
    return clients.tally.messages > before


def _bare(count: int, load: FirstByte, redis: int) -> list[int]:
    subscriber = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "benchmarks.servers.bare_subscriber", str(redis), str(count)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
    )
    publisher = RedisPublisher(redis, whole=True)
    try:
        assert subscriber.stdout is not None  # noqa: S101 - it is a pipe
        if subscriber.stdout.readline().strip() != "ready":
            raise RuntimeError("redis-py alone does not subscribe")
        for _ in range(count):
            publisher.publish([0])
            time.sleep(1 / load.per_second)
        said, _ = subscriber.communicate(timeout=10)
        return [int(line) for line in said.split()]
    except subprocess.TimeoutExpired as error:
        raise RuntimeError("redis-py alone has lost messages") from error
    finally:
        publisher.close()
        subscriber.kill()
        subscriber.wait()
