"""Monitor: the metrics of a program beside those that all have, and its port."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from prometheus_client import Metric

from ime_live.monitoring.families import gauge
from ime_live.monitoring.monitor import Monitor
from ime_live.process.listener import bind

PATIENCE = 20.0


class Program:
    """A program with one metric."""

    def not_ready(self) -> str | None:
        return "Redis cannot be reached"

    def collect(self) -> Iterable[Metric]:
        yield gauge("answer", "The answer.", 42)


def test_exposition_has_metrics_of_the_program_and_of_its_process() -> None:
    text = Monitor(Program()).exposition().decode()
    assert "\nime_live_answer 42.0\n" in text
    assert "\nime_live_log_lines_dropped_total 0.0\n" in text
    assert "\nime_live_build_info{" in text
    assert "\nprocess_cpu_seconds_total " in text


async def test_port_answers_inside_the_block_only() -> None:
    monitor = Monitor(Program())
    async with monitor.serving(None):
        pass  # without a port nothing is served
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        async with monitor.serving(listener):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), PATIENCE)
            writer.close()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Redis cannot be reached" in answer
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", port)
