"""The testbed: a store, two gateways, a publisher, two feeds and the clients, all running."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from chaos.clients.client import Client, Frontend
from chaos.clients.kinds import make_clients
from chaos.invariants import Invariant, Violation
from chaos.lag import Lag
from chaos.market import Market, now
from chaos.process import Process
from chaos.proxy import Proxy
from chaos.states import IDS, number_in
from chaos.stores import STORES, Store
from chaos.timeline import Sample, Stored, Timeline
from ime_live.gateway.stream.context import EVENT_OVERLAP
from tests.support.servers import free_port

GATEWAYS: Final = ("gateway 1", "gateway 2")
FEEDS: Final = ("feed 1", "feed 2")
PUBLISHER: Final = "publisher"

_PATIENCE: Final = 40.0  # seconds for the start, and for a failover among the store's servers
_SAMPLE_INTERVAL: Final = 0.2
_POLL_INTERVAL: Final = 0.05
_ALWAYS: Final = "sat-fri 00:00-24:00"


class UnsettledError(Exception):
    """The processes do not start, or the store's servers do not agree among themselves."""


class Testbed:
    """The system under test, and its observers; use as ``async with``.

    Attributes:
        store: used as Redis.
        market: the true states.
        processes: of the service, by name.
        frontend: where clients connect.
        clients: all clients.
        timeline: the store's states over time.
        lag: of the run itself.
        violations: those that nobody has taken yet.
        cleanups: to be called once the testbed has recovered from a fault.
    """

    def __init__(self, kind: str, seed: str, folder: Path, *, clients: int) -> None:
        """Make a testbed that is not started.

        Args:
            kind: of the store, one of `STORES`.
            seed: decides the market and the clients.
            folder: takes all files.
            clients: their number.
        """
        self._stack = AsyncExitStack()
        self.store: Store = STORES[kind](folder, self._stack)
        self.processes: dict[str, Process] = {}
        self.market = Market(seed, lambda line: self.processes[PUBLISHER].write(line))
        self.timeline = Timeline()
        self.lag = Lag()
        self.violations: list[Violation] = []
        self.cleanups: list[Callable[[], Awaitable[object]]] = []
        self.clients: list[Client] = []
        self.frontend: Frontend
        self._folder = folder
        self._random = random.Random(f"{seed}:clients")
        self._count = clients
        self._tasks: list[asyncio.Task[None]] = []
        self._sampling = asyncio.Lock()
        self._stopping = False

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _start(self) -> None:
        await self.store.start()
        for hub in self.market.hubs:
            await self._stack.enter_async_context(hub)
        ports = {name: free_port() for name in GATEWAYS}
        for name, port in ports.items():
            self._add(name, _gateway(await self.store.url(name), port))
        loop = ["--uvloop"] if self._random.random() < 0.5 else []
        self._add(PUBLISHER, ["chaos.publisher", await self.store.url(PUBLISHER), *loop])
        for name, hub in zip(FEEDS, self.market.hubs, strict=True):
            self._add(name, _feed(await self.store.url(name), hub.base_url, hub.polling_url))
        balancer = await self._stack.enter_async_context(
            Proxy("balancer", lambda: self._random.choice(list(ports.values())), ended=self._ended)
        )
        overlap = 0 if self.store.kind == "single" else EVENT_OVERLAP
        self.frontend = Frontend(ports, balancer.port, event_overlap=overlap)
        self.clients = make_clients(self._count, self.frontend, self.report, self._random)
        for process in self.processes.values():
            process.start()
        self._spawn(self.lag.run())
        self._spawn(self.market.run())
        self._spawn(self._sample())
        self.market.publish_all()
        await self.until(self._is_filled, "the store holds all states")
        await self.until(self._is_ready, "the gateways are ready")
        for client in self.clients:
            self._spawn(client.run())
        self._spawn(self._supervise())

    def _add(self, name: str, command: Sequence[str]) -> None:
        self.processes[name] = Process(name, self._folder, command)
        self._stack.callback(self.processes[name].kill)

    def begin_fault(self) -> None:
        """Note that a fault begins."""
        self.frontend.excused.clear()
        self.frontend.faulty = True

    def end_fault(self) -> None:
        """Note that a fault is over, and its effects are undone."""
        self.frontend.faulty = False

    async def check(self) -> None:
        """Let all checkers check what depends on the store's states."""
        for client in self.clients:
            client.checker.check(self.timeline)
            await asyncio.sleep(0)  # so as not to hold the loop up

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _stop(self) -> None:
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    # Processes

    async def _supervise(self) -> None:
        """Report processes that end by themselves, and start them again."""
        while True:
            for process in self.processes.values():
                if process.wanted and not process.running:
                    text = f"exit status {process.status}"
                    self.report(Violation(Invariant.RUNS, process.name, "", text))
                    self.restart(process.name)
            await asyncio.sleep(_POLL_INTERVAL)

    def restart(self, name: str) -> None:
        """Kill a process if it runs, and start it."""
        if name in GATEWAYS:
            self.frontend.excused.add(name)
            self.frontend.starts[name] += 1
        self.processes[name].kill()
        self.processes[name].start()
        if name == PUBLISHER:
            self.market.publish_all()

    async def leader(self) -> str:
        """The name of the feed that leads; empty if none does."""
        holder = await self.store.lease_holder()
        for name in FEEDS:
            if f":{self.processes[name].pid}:" in holder:
                return name
        return ""

    async def until(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait for a condition without which the run cannot go on.

        Args:
            condition: polled.
            what: description of the condition.

        Raises:
            UnsettledError: it does not come true.
        """
        try:
            async with asyncio.timeout(_PATIENCE):
                while not await condition():  # noqa: ASYNC110 - other processes
                    await asyncio.sleep(_POLL_INTERVAL)
        except TimeoutError:
            tails = [f"{p.name}: {line}" for p in self.processes.values() for line in p.tail()]
            text = "\n".join([f"not within {_PATIENCE:g} s: {what}", *tails])
            raise UnsettledError(text) from None

    async def settle(self) -> None:
        """Wait until the store's servers agree on their roles.

        Raises:
            UnsettledError: they do not.
        """
        try:
            await asyncio.to_thread(self.store.settle)
        except AssertionError as error:
            raise UnsettledError(str(error)) from error

    async def _is_filled(self) -> bool:
        return not self._outdated(await self.sample())

    async def _is_ready(self) -> bool:
        return all(
            [await _status_of(port, "/ready") == 200 for port in self.frontend.ports.values()]
        )

    # Violations

    def report(self, violation: Violation) -> None:
        """Note a violation."""
        self.violations.append(violation)

    def _ended(self, port: int) -> None:
        # The client library does not tell its program of a connection that has ended.
        name = next(name for name, each in self.frontend.ports.items() if each == port)
        if not self._stopping and name not in self.frontend.excused:
            text = f"{name} closed the connection"
            self.report(Violation(Invariant.CONNECTED, "library", "", text))

    async def sample(self) -> Mapping[str, Stored | None]:
        """Read all last states from the store, add them to the timeline, and return them."""
        async with self._sampling:  # one after the other, or the timeline goes back and forth
            asked = now()
            states = await self.store.sample()
            self.timeline.add(Sample(asked, now(), states))
            return states

    async def _sample(self) -> None:
        while True:
            await self.sample()
            await asyncio.sleep(_SAMPLE_INTERVAL)

    def _outdated(self, states: Mapping[str, Stored | None]) -> list[str]:
        """Contracts of which the store does not hold the market's state."""
        return [
            i
            for i in IDS
            if (stored := states.get(i)) is None or number_in(stored.data) != self.market.numbers[i]
        ]

    async def deviations(self) -> list[Violation]:
        """Find where the market, the store and the clients differ.

        Raises:
            Exception: whatever a task of the testbed itself has raised.
        """
        for task in self._tasks:
            if task.done():
                task.result()
        states = await self.sample()
        found = []
        for contract_id in self._outdated(states):
            stored = states.get(contract_id)
            text = "nothing" if stored is None else str(number_in(stored.data))
            text = f"the market says {self.market.numbers[contract_id]}, the store holds {text}"
            found.append(Violation(Invariant.STORED, "store", contract_id, text))
        newest = {i: stored for i, stored in states.items() if stored is not None}
        for client in self.clients:
            checker = client.checker
            if not checker.connected:
                found.append(Violation(Invariant.NEWEST, checker.name, "", "it is not connected"))
            found += checker.missing(newest, self.timeline, self.market.moved)
        return found


async def _status_of(port: int, path: str) -> int:
    """The HTTP status of a gateway's answer; 0 if there is none."""
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: chaos\r\n\r\n".encode())
            status = (await reader.readline()).split()[1]
            writer.close()
    except (OSError, IndexError):  # TimeoutError is an OSError
        return 0
    return int(status)


def _gateway(url: str, port: int) -> list[str]:
    options = ["--redis-url", url, "--port", str(port), "--auth", "none"]
    options += ["--status-interval", "0.5", "--shutdown-grace", "0.5", "--shutdown-spread", "1"]
    return ["ime_live", "serve", *options]


def _feed(url: str, base_url: str, polling_url: str) -> list[str]:
    options = ["--redis-url", url, "--base-url", base_url, "--polling-url", polling_url]
    options += ["--no-official-holidays", "--max-reconnect-delay", "1", "--boards", "futures"]
    for market in ("futures", "options", "certificates"):
        options += [f"--hours-{market}", _ALWAYS]
    return ["ime_live", "feed", "ime", *options]
