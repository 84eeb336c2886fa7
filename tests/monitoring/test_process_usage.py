"""The exported CPU, memory and open files are those of this process."""

from __future__ import annotations

import math
import os
import resource
from contextlib import ExitStack
from pathlib import Path

from prometheus_client import CollectorRegistry

from ime_live.monitoring.process_usage import ProcessUsage


def test_usage_is_that_of_this_process() -> None:
    registry = CollectorRegistry()
    usage = ProcessUsage(registry)

    def value(name: str) -> float:
        found = registry.get_sample_value(f"process_{name}")
        assert found is not None
        return found

    usage.sync()
    cpu, files = value("cpu_seconds_total"), value("open_fds")
    used = resource.getrusage(resource.RUSAGE_SELF)
    assert 0 < cpu <= used.ru_utime + used.ru_stime
    assert value("max_fds") == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert value("resident_memory_bytes") > 10_000_000
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(Path(os.devnull).open("rb"))
        usage.sync()
    assert value("cpu_seconds_total") >= cpu
    opened = value("open_fds") - files
    assert opened == 5 or math.isnan(opened)
