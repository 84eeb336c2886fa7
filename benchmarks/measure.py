"""One measurement: a server, its clients and what is published, as numbers."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from benchmarks.contenders import LOAD_CORE, Contender, Running, free_port, tokens
from benchmarks.load import Clients, Tally
from benchmarks.publications import name_of
from benchmarks.requests import Requests

# Bytes that the slow client's socket holds; Linux doubles what it is told (socket(7)).
SLOW_BUFFER: Final = 16_384

# As many as it takes for none of them to ask more often than the gateway lets one subject.
SUBJECTS: Final = 200
_CALL: Final = "/live/data/overview/contract/name?"

GRACE: Final = 0.5  # seconds after the last publication in which messages still count


@dataclass(frozen=True)
class Load:
    """What is asked of a server.

    Attributes:
        clients: connections.
        contracts: that exist.
        of_each: contracts that each client takes, chosen at random; 0 takes all of them.
        burst: updates published at once, of contracts chosen at random.
        per_second: bursts a second.
        seconds: how long.
        slow: one more client reads no more than so many bytes a second; 0 for none.
    """

    clients: int
    contracts: int = 1
    of_each: int = 1
    burst: int = 1
    per_second: float = 20.0
    seconds: float = 6.0
    slow: int = 0


@dataclass(frozen=True)
class Asking:
    """What is asked of a server by requests, each client's next one after the last's answer.

    Attributes:
        clients: connections.
        contracts: that exist.
        of_each: contracts that a request names, chosen at random.
        seconds: how long.
    """

    clients: int
    contracts: int = 500
    of_each: int = 1
    seconds: float = 5.0


@dataclass
class Result:
    """What came of it. Times in microseconds, sizes in bytes; None where it says nothing."""

    offered: int = 0
    delivered: int = 0
    cpu_per_delivery: float | None = None
    cpu_per_handshake: float | None = None
    memory_per_connection: float | None = None
    bytes_per_message: float | None = None
    p50: int | None = None
    p99: int | None = None
    longest: int | None = None
    handshakes_per_second: float | None = None
    slow_age: int | None = None
    memory_growth: int | None = None
    requests_per_second: float | None = None
    cpu_per_request: float | None = None

    @property
    def share(self) -> float:
        """Delivered of offered."""
        return self.delivered / self.offered if self.offered else 1.0

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON."""
        return {**asdict(self), "share": self.share}


def measure(contender: Contender, load: Load | Asking, redis: int, seed: int = 1) -> Result:
    """Start the server, put the load on it, and stop it."""
    os.sched_setaffinity(0, {LOAD_CORE})
    running = contender.start(free_port(), redis)
    clients = Clients()
    rng = random.Random(seed)  # noqa: S311 - repeatable
    try:
        if isinstance(load, Asking):
            return _ask(running, load, rng)
        return _measure(running, clients, load, rng)
    finally:
        clients.close()
        running.stop()


def _measure(running: Running, clients: Clients, load: Load, rng: random.Random) -> Result:
    result = Result()
    selections = [_selection(load, rng) for _ in range(load.clients)]
    interest = [0] * load.contracts
    for selection in selections:
        for contract in selection:
            interest[contract] += 1
    _warm_up(running, clients)
    _join(running, clients, selections, result)
    time.sleep(0.5)
    clients.reset()
    begin_cpu, begin_memory = running.cpu(), running.memory()
    slow = _SlowReader(running, clients, load.slow) if load.slow else None
    begin = time.monotonic()
    count = int(load.seconds * load.per_second)
    for number in range(count):
        due = begin + number / load.per_second
        while True:
            clients.drain(max(0.0, due - time.monotonic()))
            if time.monotonic() >= due:
                break
        contracts = [rng.randrange(load.contracts) for _ in range(load.burst)]
        running.publisher.publish(contracts)
        result.offered += sum(interest[contract] for contract in contracts)
        if slow is not None:
            slow.read()
    clients.drain(
        max(0.0, begin + load.seconds - time.monotonic()) + GRACE,
        lambda: clients.tally.frames >= result.offered,
    )
    tally = clients.tally
    result.delivered = tally.frames
    if tally.frames:
        result.cpu_per_delivery = (running.cpu() - begin_cpu) / tally.frames
        result.bytes_per_message = tally.bytes / tally.frames
    latencies = sorted(tally.latencies)
    if latencies:
        result.p50 = latencies[len(latencies) // 2]
        result.p99 = latencies[len(latencies) * 99 // 100]
        result.longest = latencies[-1]
    if slow is not None:
        result.slow_age = slow.age()
        result.memory_growth = running.memory() - begin_memory
    return result


def _ask(running: Running, load: Asking, rng: random.Random) -> Result:
    requests = []
    for token in tokens(SUBJECTS):
        contracts = rng.sample(range(load.contracts), load.of_each)
        query = "&".join(f"contract_names={name_of(contract)}" for contract in contracts)
        lines = [
            f"GET {_CALL}{query} HTTP/1.1",
            f"Host: 127.0.0.1:{running.port}",
            f"Authorization: Bearer {token}",
            "Accept: */*",
            "User-Agent: benchmark",
        ]
        requests.append("\r\n".join([*lines, "", ""]).encode())
    asking = Requests(running.port, requests, load.clients)
    try:
        asking.run(0.5)
        cpu = running.cpu()
        asked = asking.run(load.seconds)
        cpu = running.cpu() - cpu
    finally:
        asking.close()
    latencies = sorted(asked.latencies)
    return Result(
        offered=asked.answers,
        delivered=asked.answers,
        requests_per_second=asked.answers / asked.seconds,
        cpu_per_request=cpu / asked.answers,
        bytes_per_message=asked.bytes / asked.answers,
        p50=latencies[len(latencies) // 2],
        p99=latencies[len(latencies) * 99 // 100],
        longest=latencies[-1],
    )


def _selection(load: Load, rng: random.Random) -> Sequence[int]:
    if load.of_each == 0:
        return range(load.contracts)
    return rng.sample(range(load.contracts), load.of_each)


def _warm_up(running: Running, clients: Clients) -> None:
    # What a process allocates for its first client is not the cost of a connection.
    clients.connect(running.port, [running.path_of([0])] * 20, headers=running.headers)
    for _ in range(20):
        running.publisher.publish([0])
        clients.drain(0.02)
    clients.forget()
    time.sleep(0.3)


def _join(
    running: Running, clients: Clients, selections: Sequence[Sequence[int]], result: Result
) -> None:
    paths = [running.path_of(selection) for selection in selections]
    cpu, memory, begin = running.cpu(), running.memory(), time.monotonic()
    clients.connect(running.port, paths, headers=running.headers)
    result.handshakes_per_second = len(paths) / (time.monotonic() - begin)
    result.cpu_per_handshake = (running.cpu() - cpu) / len(paths)
    result.memory_per_connection = (running.memory() - memory) / len(paths)


class _SlowReader:
    """One of the clients, read at a limited rate."""

    def __init__(self, running: Running, clients: Clients, rate: int) -> None:
        self._clients = clients
        self._rate = rate
        before = set(clients.by_fd)
        clients.connect(
            running.port,
            [running.path_of([0])],
            headers=running.headers,
            receive_buffer=SLOW_BUFFER // 2,
        )
        [self._fd] = set(clients.by_fd) - before
        clients.by_fd[self._fd].sampled = True  # the age of what it gets is what counts
        clients.ignore(self._fd)
        self._begin = time.monotonic()
        self._read = 0
        self._ages: list[int] = []

    def read(self) -> None:
        """Read what the rate allows by now; its messages do not count among the others'."""
        allowed = int((time.monotonic() - self._begin) * self._rate) - self._read
        if allowed > 0:
            tally, self._clients.tally = self._clients.tally, Tally()
            self._read += self._clients.read(self._fd, allowed)
            self._ages += self._clients.tally.latencies
            self._clients.tally = tally

    def age(self) -> int:
        """The greatest age of a message that it got, but for the first second's."""
        return max(self._ages[len(self._ages) // 4 :], default=0)
