"""A gateway that can be drained, stopped and started again on its port."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from benchmarks.processes import free_port

_TIMEOUT: Final = 60.0


class GatewayProcess:
    """A gateway that can be drained, stopped and started again on its port.

    Attributes:
        port: where it listens.
    """

    def __init__(self, folder: Path, redis_url: str, *options: str) -> None:
        """Name its files and options; `start` starts it.

        Args:
            folder: takes its pid file and its log.
            redis_url: its Redis.
            options: further options of ``serve``.
        """
        self.port = free_port()
        self._pid_file = str(folder / f"{self.port}.pid")
        self._log = folder / f"{self.port}.log"
        self._command = (
            *("serve", "--auth", "none", "--port", str(self.port), "--redis-url", redis_url),
            *("--max-subject-connections", "0", "--pid-file", self._pid_file, *options),
        )
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        process = self._process = self._started()
        async with asyncio.timeout(_TIMEOUT):
            while await asyncio.to_thread(self._status) != 200:
                if process.poll() is not None:
                    raise RuntimeError(f"the gateway does not start:\n{self._log.read_text()}")
                await asyncio.sleep(0.1)

    def _started(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-m", "ime_live", *self._command], stdout=log, stderr=log
            )

    def _status(self) -> int:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    async def drain(self) -> None:
        """Run ``ime-live drain``.

        Raises:
            RuntimeError: it fails.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ime_live", "drain", "--pid-file", self._pid_file),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        if process.returncode != 0 or not said.endswith(b"drained: 0 streams open\n"):
            raise RuntimeError(f"drain ended with {process.returncode}:\n{said.decode()}")

    async def stop(self) -> None:
        """Stop it with SIGTERM.

        Raises:
            RuntimeError: its exit status is not 0.
        """
        if self._process is None:
            return
        self._process.terminate()
        status = await asyncio.to_thread(self._process.wait, _TIMEOUT)
        self._process = None
        if status != 0:
            raise RuntimeError(f"the gateway ended with {status}:\n{self._log.read_text()}")

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
