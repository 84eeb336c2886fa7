"""Monitor: serve metrics and probes of a program without clients on a port of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import NoReturn, Protocol

from prometheus_client import CollectorRegistry, Metric, generate_latest

from ime_live.monitoring.commit import built_commit
from ime_live.monitoring.probe_server import ProbeServer
from ime_live.monitoring.program_metrics import ProgramMetrics


class Monitored(Protocol):
    """Interface of a program to its monitor."""

    def not_ready(self) -> str | None:
        """Return the reason why the program cannot do its work now; None if it can."""

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of the program."""


class Monitor:
    """The metrics of a program, and those of all programs."""

    def __init__(self, program: Monitored) -> None:
        """Create a monitor of a program."""
        self._registry = CollectorRegistry()
        self._registry.register(program)
        self._own = ProgramMetrics(self._registry, "version", "commit")
        self._own.set_build(version=version("ime-live"), commit=built_commit())
        self._server = ProbeServer(program.not_ready, self.exposition)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        self._own.sync()
        return generate_latest(self._registry)

    @asynccontextmanager
    async def serving(self, listener: socket.socket | None) -> AsyncIterator[None]:
        """Serve on a bound socket in the block; nothing is served without a socket."""
        if listener is None:
            yield
            return
        measuring = asyncio.create_task(self._measure())
        try:
            async with self._server.serving(listener):
                yield
        finally:
            measuring.cancel()

    async def _measure(self) -> NoReturn:
        while True:
            await self._own.measure_loop()
