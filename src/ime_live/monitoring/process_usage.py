"""CPU, memory and open files of this process, with the usual names of Prometheus clients.

The collector of prometheus-client for these metrics does not support several workers.
"""

from __future__ import annotations

import math
import os
import resource
from pathlib import Path
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge

_FDS = Path("/proc/self/fd")
_STATM = Path("/proc/self/statm")


class ProcessUsage:
    """CPU, memory and open files; for several workers, the sums are exported.

    Memory is available on Linux only, open files on Linux 6.2 and later; else they are NaN. Older
    kernels only have a list of open files, which takes 70 ms for 10,000 files.
    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        """Create the metrics.

        Args:
            registry: registry of the metrics; None in multiprocess mode.
        """

        def gauge(name: str, text: str, mode: Literal["livesum", "livemin"] = "livesum") -> Gauge:
            return Gauge(name, text, registry=registry, multiprocess_mode=mode)

        self._cpu = Counter(
            "process_cpu_seconds", "CPU time of user and system [seconds].", registry=registry
        )
        self._counted = 0.0
        self._memory = gauge("process_resident_memory_bytes", "Resident memory [bytes].")
        self._files = gauge("process_open_fds", "Open files, including connections.")
        self._max_files = gauge("process_max_fds", "Limit of open files per process.", "livemin")

    def sync(self) -> None:
        """Read the present values."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        cpu = usage.ru_utime + usage.ru_stime
        self._cpu.inc(cpu - self._counted)
        self._counted = cpu
        self._max_files.set(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._memory.set(_resident_memory())
        self._files.set(_open_files())


def _resident_memory() -> float:
    if not _STATM.exists():
        return math.nan
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _open_files() -> float:
    return (_FDS.stat().st_size if _FDS.exists() else 0) or math.nan
