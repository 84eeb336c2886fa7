"""Processes of measured servers: start one on its core, read its CPU time and memory, stop it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.load import Request
from benchmarks.publications import Publisher
from ime_live.gateway.auth.tokens import create_token

SERVER_CORE: Final = 0
LOAD_CORE: Final = 1
SECRET: Final = "a secret of the benchmarks, on loopback only"  # noqa: S105
ROOT: Final = Path(__file__).parent.parent

RequestOf = Callable[[Sequence[int], str], Request]
"""Makes a WebSocket request of the numbers of contracts and a token."""


@dataclass
class Running:
    """A server that runs.

    Attributes:
        processes: of which it consists; their children count as well.
        port: where clients connect.
        publisher: publishes what it delivers.
        request_of: makes a client's request.
        folder: of its own, removed when it ends.
        tls: how clients connect, if it is by TLS.
        joins_messages: whether one frame may hold several messages, separated by newlines.
    """

    processes: Sequence[subprocess.Popen[bytes]]
    port: int
    publisher: Publisher
    request_of: RequestOf
    folder: str | None = None
    tls: ssl.SSLContext | None = None
    joins_messages: bool = False

    def cpu(self) -> float:
        """Microseconds of CPU that it has used so far, all its processes together."""
        return sum(cpu_of(pid) for process in self.processes for pid in _family(process.pid))

    def wait(self) -> float:
        """Microseconds for which it waited for a CPU so far, all its processes together."""
        return sum(wait_of(pid) for process in self.processes for pid in _family(process.pid))

    def memory(self) -> int:
        """Bytes that are resident, all its processes together."""
        return sum(_memory(pid) for process in self.processes for pid in _family(process.pid))

    def stop(self) -> None:
        """End it."""
        self.publisher.close()
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.folder is not None:
            shutil.rmtree(self.folder)


@dataclass(frozen=True)
class Contender:
    """A server that can be measured.

    Attributes:
        name: in the tables.
        missing: why it cannot run here, or None.
        start: starts it, given a port and that of Redis.
        lacks: what ime-live does and it does not, or how it is set up; empty for ime-live.
        version_command: prints its version; empty if it is one of Python's packages.
    """

    name: str
    missing: str | None
    start: Callable[[int, int], Running]
    lacks: str = ""
    version_command: Sequence[str] = ()

    def version(self) -> str:
        """The version of the installed program; empty if it is a Python package."""
        if not self.version_command or self.missing:
            return ""
        done = subprocess.run(  # noqa: S603 - our own commands
            self.version_command, capture_output=True, text=True, check=False
        )
        # Not that of the compiler, as in go1.26.8.
        found = re.search(r"(?:^|[\s/v])(\d+(?:\.\d+)+)", done.stdout + done.stderr)
        return found[1] if found else ""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def tokens(count: int, kind: str = "benchmark") -> list[str]:
    """Tokens of so many subjects, that all servers which ask for one take.

    Args:
        count: how many.
        kind: another one has other subjects.
    """
    now = time.time()
    return [create_token(SECRET, f"{kind} {n}", 1, now=now) for n in range(count)]


def start_process(
    command: Sequence[str], port: int, cores: Collection[int] = (SERVER_CORE,), **variables: str
) -> subprocess.Popen[bytes]:
    """Start a server, and wait until it listens.

    Raises:
        RuntimeError: it ends at once, or does not listen in time.
    """
    # Logs are written as in production, but not to a terminal.
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 - our own commands
            command,
            cwd=ROOT,
            env={**os.environ, **variables},
            stdout=subprocess.DEVNULL,
            stderr=log,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return process
    process.kill()
    process.wait()
    raise RuntimeError(f"{' '.join(command)} does not listen")


def _family(pid: int) -> list[int]:
    pids = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            pids += _family(int(child))
    return pids


def cpu_of(pid: int) -> float:
    """Microseconds of CPU that a process has used so far."""
    return _scheduled(pid)[0]


def wait_of(pid: int) -> float:
    """Microseconds for which a process was ready so far, and others had the CPU."""
    return _scheduled(pid)[1]


def _scheduled(pid: int) -> tuple[float, float]:
    # Nanoseconds on a CPU and in its queue (Documentation/scheduler/sched-stats.rst).
    ran = waited = 0.0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        fields = task.read_text().split()
        ran += int(fields[0]) / 1000
        waited += int(fields[1]) / 1000
    return ran, waited


def _memory(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
