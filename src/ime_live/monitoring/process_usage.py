"""CPU, memory and open files of this process, under the names that all Prometheus clients use.

prometheus-client's own collector of these metrics does not work with several workers.
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
    """CPU, memory and open files; the sums of several workers are exported.

    Memory is known on Linux only, open files from Linux 6.2 on; else they are NaN. Older kernels
    give open files by a list alone, which takes 70 ms with 10,000 of them.
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
        self._files = gauge("process_open_fds", "Open files, each connection is one.")
        self._most_files = gauge("process_max_fds", "Limit of open files per process.", "livemin")

    def sync(self) -> None:
        """Read the present values."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu = used.ru_utime + used.ru_stime
        self._cpu.inc(cpu - self._counted)
        self._counted = cpu
        self._most_files.set(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        self._memory.set(_resident_memory())
        self._files.set(_open_files())


def _resident_memory() -> float:
    if not _STATM.exists():
        return math.nan
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _open_files() -> float:
    return (_FDS.stat().st_size if _FDS.exists() else 0) or math.nan
