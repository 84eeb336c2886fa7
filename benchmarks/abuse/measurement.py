"""One measurement: the latency of a gateway's other clients beside abusers of one kind.

Two gateways take turns. Each has a crowd of well-behaved observers for the whole time. Beside the
first crowd there are as many well-behaved clients more as there are abusers beside the second. A
ratio is that of one round, since a slow second of the machine slows both.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
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
_SETTLE: Final = 0.7  # seconds before a phase is measured
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
    seconds: float = 3.0
    connections: int = 0


class Phase(Struct):
    """What the observers saw during one phase. Times in microseconds, sizes in bytes.

    Attributes:
        p50: latency.
        p99: latency.
        longest: latency.
        offered: messages that were published to observers.
        delivered: messages that came.
        memory: most that the gateway's process had.
        cores: that the gateway used.
    """

    p50: int = 0
    p99: int = 0
    longest: int = 0
    offered: int = 0
    delivered: int = 0
    memory: int = 0
    cores: float = 0.0


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
        holds: bytes that the gateway may hold per abuser's connection.
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
    holds: int

    @property
    def ratio(self) -> Goal:
        """The p99 beside abusers, by that beside well-behaved clients."""
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
        """Bytes of memory that the abusers cost."""
        return max(each.memory for each in self.abused) - self.quiet

    @property
    def bound(self) -> int:
        """Bytes of memory that they may cost."""
        return _ALLOCATOR + self.connections * self.holds

    def middle(self, phases: Sequence[Phase], figure: Callable[[Phase], float]) -> float:
        """The median of a figure."""
        return median(figure(each) for each in phases)


_ALLOCATOR: Final = 16_000_000
"""Bytes that a process may keep free, and that come and go with the load."""


class Crowd:
    """A gateway, its observers, and one contract that they watch."""

    def __init__(self, running: Running, contract: int, observers: int) -> None:
        self.running = running
        self._contract = contract
        self.clients = Clients(sampled_every=4)
        warm_up(running, self.clients)
        own = tokens(_SUBJECTS, f"observer {contract}")
        requests = [
            running.request_of([contract], own[n % _SUBJECTS]) for n in range(observers)
        ]
        self.clients.connect(running.port, requests)
        self.clients.drain(_SETTLE)

    @property
    def disconnected(self) -> int:
        """Observers that are no longer connected."""
        return sum(client.closed for client in self.clients.by_fd.values())

    def observe(self, seconds: float) -> Phase:
        """Publish and receive."""
        clients, running = self.clients, self.running
        phase = Phase(memory=running.memory())
        clients.drain(0.01)
        clients.reset()
        begin, cpu = time.monotonic(), running.cpu()
        published, looked = 0, begin
        while published < seconds * PER_SECOND:
            due = begin + published / PER_SECOND
            clients.drain(max(0.0, due - time.monotonic()), lambda: time.monotonic() >= due)
            running.publisher.publish([self._contract])
            published += 1
            if time.monotonic() - looked > _STEP:
                looked = time.monotonic()
                phase.memory = max(phase.memory, running.memory())
        phase.cores = (running.cpu() - cpu) / 1e6 / (time.monotonic() - begin)
        phase.offered = published * len(clients.by_fd)
        clients.drain(_LATE, lambda: clients.tally.messages >= phase.offered)
        phase.memory = max(phase.memory, running.memory())
        phase.delivered = clients.tally.messages
        latencies = sorted(clients.tally.latencies) or [0]
        phase.p50 = latencies[len(latencies) // 2]
        phase.p99 = latencies[len(latencies) * 99 // 100]
        phase.longest = latencies[-1]
        return phase

    def observe_beside(
        self, kind: Kind, connections: int, seconds: float, *, well_behaved: bool
    ) -> tuple[Phase, dict[str, Any]]:
        """Observe while another process has its clients, and return its own figures too."""
        command = [
            *(sys.executable, "-m", "benchmarks.abuse.abusers", kind.name),
            *(str(self.running.port), str(self._contract), str(connections)),
            *(("--well-behaved",) if well_behaved else ()),
        ]
        with subprocess.Popen(  # noqa: S603 - our own program
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                assert process.stdout is not None  # noqa: S101 - it is a pipe
                if not process.stdout.readline():
                    raise RuntimeError(f"the clients of {kind.name} have failed")
                self.clients.drain(_SETTLE)
                phase = self.observe(seconds)
                said, _ = process.communicate(timeout=30)
            finally:
                process.kill()
        self.clients.drain(_SETTLE)
        return phase, json.loads(said)

    def close(self) -> None:
        """End the observers and the gateway."""
        self.clients.close()
        self.running.stop()


def measure(kind: Kind, redis: int, plan: Plan, contender: Contender = GATEWAY) -> Measured:
    """Measure one kind of abuse.

    Args:
        kind: what the abusers do.
        redis: port of Redis, which has the contracts of the benchmarks.
        plan: how much is measured.
        contender: the gateway.

    Raises:
        RuntimeError: a process does not start, or a well-behaved client is refused.
    """
    os.sched_setaffinity(0, {LOAD_CORE})
    connections = plan.connections or kind.connections
    crowds: list[Crowd] = []
    codes: Counter[str] = Counter()
    opened = sent = 0
    well: list[Phase] = []
    abused: list[Phase] = []
    gc.disable()
    try:
        for contract in (0, 1):
            running = contender.start(free_port(), redis)
            crowds.append(Crowd(running, contract, plan.observers))
        quiet = crowds[1].running.memory()
        for _ in range(plan.rounds):
            for crowd, phases in zip(crowds, (well, abused), strict=True):
                phase, said = crowd.observe_beside(
                    kind, connections, plan.seconds, well_behaved=phases is well
                )
                phases.append(phase)
                if phases is abused:
                    codes.update(said["codes"])
                    opened += said["opened"]
                    sent += said["sent"]
        disconnected = sum(crowd.disconnected for crowd in crowds)
    finally:
        gc.enable()
        for crowd in crowds:
            crowd.close()
    return Measured(
        kind=kind.name,
        title=kind.title,
        connections=connections,
        well=well,
        abused=abused,
        quiet=quiet,
        disconnected=disconnected,
        codes=dict(codes.most_common()),
        opened=opened,
        sent=sent,
        holds=kind.holds,
    )
