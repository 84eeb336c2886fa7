"""One measurement: the latency of a gateway's other clients beside abusers of one kind.

Two gateways take turns. Each has a crowd of well-behaved observers for the whole time. The second
one has abusers as well, the first one as many further well-behaved clients. A ratio compares
figures of one round, since a slow second of the machine slows both.
"""

from __future__ import annotations

import gc
import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import Any, Final

from msgspec import Struct

from benchmarks.abuse.kind import Kind
from benchmarks.first_byte import warm_up
from benchmarks.gateways import gateway
from benchmarks.goals import Goal
from benchmarks.load import Clients
from benchmarks.processes import LOAD_CORE, ROOT, Contender, Running, free_port, tokens

OBSERVERS: Final = 1_000
PER_SECOND: Final = 20.0
"""Updates that each observer gets."""

AT_MOST: Final = 2.0
"""Times the p99 beside as many well-behaved clients."""

GATEWAY: Final = gateway("ime-live", options=())
"""With its default settings."""

_SUBJECTS: Final = 10
_SETTLE: Final = 0.5  # seconds before a phase is measured
_LATE: Final = 5.0  # seconds in which a delayed message still counts
_STEP: Final = 0.05  # seconds between two looks at the memory


class Plan(Struct, frozen=True):
    """How much is measured.

    Attributes:
        observers: of each gateway.
        rounds: of two phases each.
        seconds: of a phase.
        connections: of abusers; 0 takes those of the kind.
    """

    observers: int = OBSERVERS
    rounds: int = 3
    seconds: float = 1.5
    connections: int = 0


class Phase(Struct):
    """Measurements of the observers during one phase. Times in microseconds, sizes in bytes.

    Attributes:
        p50: latency.
        p99: latency.
        longest: latency.
        offered: messages that were published to observers.
        delivered: messages that came.
        memory: most that the gateway's process had.
        cores: that the gateway used.
        waited: share of the time for which the gateway was ready, and another process had its core.
    """

    p50: int = 0
    p99: int = 0
    longest: int = 0
    offered: int = 0
    delivered: int = 0
    memory: int = 0
    cores: float = 0.0
    waited: float = 0.0


class Measured(Struct):
    """The result for one kind.

    Attributes:
        kind: its name.
        title: what its abusers do.
        connections: of the abusers.
        well: phases beside well-behaved clients.
        abused: phases beside abusers.
        quiet: bytes of memory of the gateway with observers only, before any abuse.
        disconnected: observers that were.
        codes: the answers to the abusers, and how many there were of each.
        opened: connections that the abusers opened.
        sent: bytes that the abusers sent.
        bound: bytes of memory that these abusers, and those before on this gateway, may cost.
    """

    kind: str
    title: str
    connections: int
    well: list[Phase]
    abused: list[Phase]
    quiet: int
    disconnected: int
    codes: dict[str, int]
    opened: int
    sent: int
    bound: int

    @property
    def ratio(self) -> Goal:
        """The p99 beside abusers, divided by that beside well-behaved clients."""
        figures = [
            abused.p99 / well.p99 for well, abused in zip(self.well, self.abused, strict=True)
        ]
        return Goal(f"p99, {self.kind}", AT_MOST, "× beside well-behaved clients", figures)

    @property
    def lost(self) -> int:
        """Messages that did not come to an observer."""
        return sum(each.offered - each.delivered for each in (*self.well, *self.abused))

    @property
    def growth(self) -> int:
        """Bytes of memory that the abusers, and those before, cost the gateway."""
        return max(each.memory for each in self.abused) - self.quiet

    def middle(self, phases: Sequence[Phase], figure: Callable[[Phase], float]) -> float:
        """The median of a figure."""
        return median(figure(each) for each in phases)


_ALLOCATOR: Final = 24_000_000
"""Bytes that a process may keep free, and that come and go with the load."""


class Crowd:
    """A gateway, its observers, one contract that they watch, and the other clients' process."""

    def __init__(
        self, running: Running, contract: int, observers: int, *, well_behaved: bool
    ) -> None:
        """Connect the observers.

        Args:
            running: the gateway.
            contract: number of the contract.
            observers: how many.
            well_behaved: whether the other clients are.
        """
        self.running = running
        self._contract = contract
        self._others = subprocess.Popen(  # noqa: S603 - our own program
            [
                *(sys.executable, "-m", "benchmarks.abuse.abusers"),
                *(str(running.port), str(contract)),
                *(("--well-behaved",) if well_behaved else ()),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._clients = Clients(sampled_every=4)
        warm_up(running, self._clients)
        own = tokens(_SUBJECTS, f"observer {contract}")
        requests = [running.request_of([contract], own[n % _SUBJECTS]) for n in range(observers)]
        self._clients.connect(running.port, requests)
        self._clients.drain(_SETTLE)
        self.quiet = running.memory()
        """Bytes of memory of the gateway with observers only, before anything else."""

    @property
    def disconnected(self) -> int:
        """Observers that are no longer connected."""
        return sum(client.closed for client in self._clients.by_fd.values())

    def observe_beside(
        self, kind: Kind, connections: int, seconds: float
    ) -> tuple[Phase, dict[str, Any]]:
        """Observe while the other process has its clients, and return its own figures too.

        Raises:
            RuntimeError: that process has ended.
        """
        self._order(f"{kind.name} {connections}")
        self._answer()
        self._clients.drain(_SETTLE)
        phase = self._observe(seconds)
        self._order("")
        said = json.loads(self._answer())
        self._clients.drain(_SETTLE)
        return phase, said

    def _order(self, line: str) -> None:
        assert self._others.stdin is not None  # noqa: S101 - it is a pipe
        print(line, file=self._others.stdin, flush=True)

    def _answer(self) -> str:
        assert self._others.stdout is not None  # noqa: S101 - it is a pipe
        # Meanwhile the observers are served: their memory is not that of slow clients.
        while not select.select([self._others.stdout], [], [], 0)[0]:
            self._clients.drain(0.02)
        line = self._others.stdout.readline()
        if not line:
            raise RuntimeError("the process of the other clients has failed")
        return line

    def _observe(self, seconds: float) -> Phase:
        """Publish and receive."""
        clients, running = self._clients, self.running
        phase = Phase(memory=running.memory())
        clients.drain(0.01)
        clients.reset()
        begin, cpu, wait = time.monotonic(), running.cpu(), running.wait()
        published, looked = 0, begin
        observers = len(clients.by_fd)
        while published < seconds * PER_SECOND:
            clients.drain(max(0.0, begin + published / PER_SECOND - time.monotonic()))
            running.publisher.publish([self._contract])
            published += 1
            if time.monotonic() - looked > _STEP:
                looked = time.monotonic()
                phase.memory = max(phase.memory, running.memory())
        passed = 1e6 * (time.monotonic() - begin)
        phase.cores = (running.cpu() - cpu) / passed
        phase.waited = (running.wait() - wait) / passed
        phase.offered = published * observers
        clients.drain(_LATE, lambda: clients.tally.messages >= phase.offered)
        phase.memory = max(phase.memory, running.memory())
        phase.delivered = clients.tally.messages
        latencies = sorted(clients.tally.latencies) or [0]
        phase.p50 = latencies[len(latencies) // 2]
        phase.p99 = latencies[len(latencies) * 99 // 100]
        phase.longest = latencies[-1]
        return phase

    def close(self) -> None:
        """End the other clients, the observers and the gateway."""
        self._others.kill()
        self._others.communicate()
        self._clients.close()
        self.running.stop()


def measure(
    kinds: Iterable[Kind], redis: int, plan: Plan, contender: Contender = GATEWAY
) -> Iterator[Measured]:
    """Measure kinds of abuse, one after the other.

    Args:
        kinds: what the abusers do.
        redis: port of Redis, which has the contracts of the benchmarks.
        plan: how much is measured.
        contender: the gateway.

    Raises:
        RuntimeError: a process does not start, or a well-behaved client is refused.
    """
    os.sched_setaffinity(0, {LOAD_CORE})
    crowds: list[Crowd] = []
    gc.disable()
    try:
        for contract, well_behaved in enumerate((True, False)):
            running = contender.start(free_port(), redis)
            crowds.append(Crowd(running, contract, plan.observers, well_behaved=well_behaved))
        held = 0
        for kind in kinds:
            held = max(held, (plan.connections or kind.connections) * kind.holds)
            yield _measure(kind, crowds, plan, bound=_ALLOCATOR + held)
    finally:
        gc.enable()
        for crowd in crowds:
            crowd.close()


def _measure(kind: Kind, crowds: Sequence[Crowd], plan: Plan, *, bound: int) -> Measured:
    connections = plan.connections or kind.connections
    codes: Counter[str] = Counter()
    phases: tuple[list[Phase], list[Phase]] = ([], [])
    opened = sent = 0
    before = sum(crowd.disconnected for crowd in crowds)
    for _ in range(plan.rounds):
        for crowd, found in zip(crowds, phases, strict=True):
            phase, said = crowd.observe_beside(kind, connections, plan.seconds)
            found.append(phase)
        # The codes that well-behaved clients receive are not counted.
        codes.update(said["codes"])
        opened += said["opened"]
        sent += said["sent"]
    return Measured(
        kind=kind.name,
        title=kind.title,
        connections=connections,
        well=phases[0],
        abused=phases[1],
        quiet=crowds[1].quiet,
        disconnected=sum(crowd.disconnected for crowd in crowds) - before,
        codes=dict(codes.most_common()),
        opened=opened,
        sent=sent,
        bound=bound,
    )
