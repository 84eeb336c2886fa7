"""Monitor: serve the metrics of the feed or the bars on a port of their own."""

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
    """Interface of a program that is monitored."""

    def not_ready(self) -> str | None:
        """Return why the program does not do its work now; None if it does."""

    def collect(self) -> Iterable[Metric]:
        """Return its metrics."""


class Monitor:
    """Serves the metrics of a program, with those that every program has."""

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
        """Answer on a bound socket inside the block; None serves nothing."""
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
