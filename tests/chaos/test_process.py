"""Processes of a run end with it, also if it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers import until

# One of them is stopped, so that it can be ended by SIGKILL only.
RUN = """
import asyncio, os, signal, sys
from pathlib import Path
from chaos.process import Process
from tests.support.servers import Server

async def main():
    Server.ends_with_starter = True
    server = await asyncio.to_thread(Server, Path("server"))
    publisher = Process("publisher", Path(), ["chaos.publisher", server.url])
    publisher.start()
    server.hang()
    print(server._process.pid, publisher.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def _runs(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel must tell of a parent's death")
def test_servers_and_processes_end_when_the_run_is_killed(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen(  # noqa: S603 - our own code
        [sys.executable, "-c", RUN],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
    ) as run:
        try:
            assert run.stdout is not None
            pids = [int(word) for word in run.stdout.readline().split()]
            assert len(pids) == 2
            assert all(map(_runs, pids))
        finally:
            run.send_signal(signal.SIGKILL)
    until(lambda: not any(map(_runs, pids)))
