"""One measurement: a server, its clients and what is published, as numbers."""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Sequence
from statistics import median
from typing import Final

from benchmarks.bars import measure_bars
from benchmarks.first_byte import measure_first_byte, warm_up
from benchmarks.load import Clients, Tally
from benchmarks.loads import (
    AnyLoad,
    Bars,
    FirstByte,
    Handshakes,
    JoinStorm,
    Load,
    Requesting,
    Result,
)
from benchmarks.processes import LOAD_CORE, Contender, Running, free_port, tokens
from benchmarks.publications import name_of
from benchmarks.requests import Requests

# Bytes that the slow client's socket holds; Linux doubles what it is told (socket(7)).
SLOW_BUFFER: Final = 16_384

# So many that no subject exceeds the rate of requests that the gateway allows it.
SUBJECTS: Final = 200
_CALL: Final = "/live/data/overview/contract/name?"

GRACE: Final = 0.5  # seconds after the last publication in which messages still count


def measure(contender: Contender, load: AnyLoad, redis: int, seed: int = 1) -> Result:
    """Start the server, put the load on it, and stop it."""
    os.sched_setaffinity(0, {LOAD_CORE})
    if isinstance(load, FirstByte):
        return measure_first_byte(contender, load, redis)
    if isinstance(load, Bars):
        return measure_bars(load, seed)
    running = contender.start(free_port(), redis)
    clients = Clients(tls=running.tls, joined_messages=running.joins_messages)
    rng = random.Random(seed)  # noqa: S311 - repeatable
    # A collection among thousands of clients would count as the server's latency.
    gc.disable()
    try:
        match load:
            case Requesting():
                return _request(running, load, rng)
            case JoinStorm():
                return _storm(running, clients, load)
            case Handshakes():
                return _shake_hands(running, clients, load)
            case Load():
                return _stream(running, clients, load, rng)
    finally:
        gc.enable()
        clients.close()
        running.stop()


def _stream(running: Running, clients: Clients, load: Load, rng: random.Random) -> Result:
    result = Result()
    selections = [load.selection(rng) for _ in range(load.clients)]
    interest = [0] * load.contracts
    for selection in selections:
        for contract in selection:
            interest[contract] += 1
    warm_up(running, clients)
    _join(running, clients, selections, result, own_tokens=load.own_tokens)
    clients.drain(0.5)
    clients.reset()
    begin_cpu, begin_memory = running.cpu(), running.memory()
    slow = _SlowReader(running, clients, load.slow) if load.slow else None
    begin, own = time.monotonic(), time.process_time()
    for after, contracts in load.schedule(rng):
        _receive_until(clients, begin + after)
        running.publisher.publish(contracts)
        result.offered += sum(interest[contract] for contract in contracts)
        if slow is not None:
            slow.read()
    clients.drain(
        max(0.0, begin + load.seconds - time.monotonic()) + GRACE,
        lambda: clients.tally.messages >= result.offered,
    )
    result.load_share = (time.process_time() - own) / (time.monotonic() - begin)
    tally = clients.tally
    result.delivered = tally.messages
    if tally.messages:
        result.cpu_per_delivery = (running.cpu() - begin_cpu) / tally.messages
        result.bytes_per_message = tally.bytes / tally.messages
    result.take_latencies(tally.latencies)
    if slow is not None:
        result.slow_age = slow.age()
        result.memory_growth = running.memory() - begin_memory
    return result


def _receive_until(clients: Clients, due: float) -> None:
    while True:
        clients.drain(max(0.0, due - time.monotonic()))
        if time.monotonic() >= due:
            return


def _request(running: Running, load: Requesting, rng: random.Random) -> Result:
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
        cpu, own = running.cpu(), time.process_time()
        asked = asking.run(load.seconds)
        cpu, own = running.cpu() - cpu, time.process_time() - own
    finally:
        asking.close()
    result = Result(
        offered=asked.answers,
        delivered=asked.answers,
        requests_per_second=asked.answers / asked.seconds,
        cpu_per_request=cpu / asked.answers,
        bytes_per_message=asked.bytes / asked.answers,
        load_share=own / asked.seconds,
    )
    result.take_latencies(asked.latencies)
    return result


def _storm(running: Running, clients: Clients, load: JoinStorm) -> Result:
    """Measure latencies of clients that stream, before the storm and during it."""
    warm_up(running, clients)
    [token] = tokens(1)
    joining = [running.request_of([1], own) for own in tokens(load.joining, "in a storm")]
    clients.connect(running.port, [running.request_of([0], token)] * load.clients)
    clients.drain(0.5)
    clients.reset()
    begin = time.monotonic()
    published = 0

    def publish_when_due() -> None:
        nonlocal published
        if time.monotonic() - begin >= published / load.per_second:
            published += 1
            running.publisher.publish([0])

    while time.monotonic() - begin < load.seconds:
        publish_when_due()
        clients.drain(0.001)
    result = Result()
    result.take_latencies(clients.tally.latencies)
    result.p99_before = result.p99
    clients.tally.latencies.clear()
    began, own, cpu = time.monotonic(), time.process_time(), running.cpu()
    clients.connect(running.port, joining, counted=False, meanwhile=publish_when_due)
    seconds = time.monotonic() - began
    result.load_share = (time.process_time() - own) / seconds
    result.handshakes_per_second = load.joining / seconds
    # The streams cost something meanwhile, but little beside the handshakes.
    result.cpu_per_handshake = (running.cpu() - cpu) / load.joining
    clients.drain(GRACE, lambda: clients.tally.messages >= published * load.clients)
    result.offered = published * load.clients
    result.delivered = clients.tally.messages
    result.take_latencies(clients.tally.latencies)
    return result


def _shake_hands(running: Running, clients: Clients, load: Handshakes) -> Result:
    """Measure both kinds in turn, so that other load and a growing process slow both equally."""
    warm_up(running, clients)
    selections = ([0], range(load.contracts))
    for selection in selections:
        clients.connect(running.port, [running.request_of(selection, tokens(1)[0])])
    costs: tuple[list[float], list[float]] = ([], [])
    for number in range(max(1, load.clients // load.of_each)):
        # Each kind is first in every other turn.
        for kind in (0, 1) if number % 2 else (1, 0):
            own = tokens(load.of_each, f"{number} of {kind}")
            requests = [running.request_of(selections[kind], token) for token in own]
            cpu = running.cpu()
            clients.connect(running.port, requests)
            costs[kind].append((running.cpu() - cpu) / load.of_each)
    return Result(cpu_of_one_contract=median(costs[0]), cpu_per_handshake=median(costs[1]))


def _join(
    running: Running,
    clients: Clients,
    selections: Sequence[Sequence[int]],
    result: Result,
    *,
    own_tokens: bool,
) -> None:
    count = len(selections)
    sent = tokens(count) if own_tokens else tokens(1) * count
    requests = [
        running.request_of(selection, token)
        for selection, token in zip(selections, sent, strict=True)
    ]
    cpu, memory, begin = running.cpu(), running.memory(), time.monotonic()
    clients.connect(running.port, requests)
    result.handshakes_per_second = count / (time.monotonic() - begin)
    result.cpu_per_handshake = (running.cpu() - cpu) / count
    result.memory_per_connection = (running.memory() - memory) / count


class _SlowReader:
    """One of the clients, read at a limited rate."""

    def __init__(self, running: Running, clients: Clients, rate: int) -> None:
        self._clients = clients
        self._rate = rate
        before = set(clients.by_fd)
        request = running.request_of([0], tokens(1)[0])
        clients.connect(running.port, [request], receive_buffer=SLOW_BUFFER // 2)
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
