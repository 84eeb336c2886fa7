"""A command of the service in a process of its own, whose log can be closed or left unread.

Standard error is a pipe that the event loop of this process reads into a file.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from ime_live.local.supervisor import die_with_parent

_PIPE_SIZE: Final = 4096  # bytes, the least possible, so that an unread log fills it soon
_CHUNK: Final = 65_536
_TAIL: Final = 12  # lines of a log in a report
_ROUTINE: Final = re.compile("stream (opened|closed)")


class Process:
    """A process that can be killed, stopped, paused and started again, and ends with this one.

    Attributes:
        name: for reports.
        wanted: whether it should be running.
    """

    def __init__(self, name: str, folder: Path, command: Sequence[str]) -> None:
        """Make a process that is not started.

        Args:
            name: for reports.
            folder: takes its log.
            command: the module to run, and its arguments.
        """
        self.name = name
        self.wanted = False
        self._log = folder / f"{name.replace(' ', '-')}.log"
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._reading = False

    def start(self) -> None:
        """Start it, or start it again; its log is appended to the same file."""
        reader, writer = os.pipe()
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        os.set_blocking(reader, False)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("IME_LIVE_")}
        self._process = subprocess.Popen(  # noqa: S603 - our own modules
            [sys.executable, "-m", *self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=writer,
            env=environment,
            start_new_session=True,
            # SIGKILL, as it may be stopped by SIGSTOP.
            preexec_fn=die_with_parent(os.getpid(), signal.SIGKILL),
        )
        os.close(writer)
        self._pipe = reader
        self.wanted = True
        self.read_log()

    @property
    def running(self) -> bool:
        """Whether it runs or is paused."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id; 0 before the first start."""
        return 0 if self._process is None else self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return None if self._process is None else self._process.poll()

    def write(self, data: bytes) -> None:
        """Write to its standard input; lost if it does not run."""
        if self._process is not None and self._process.stdin is not None and self.wanted:
            with suppress(OSError):
                self._process.stdin.write(data)
                self._process.stdin.flush()

    # The log

    def read_log(self) -> None:
        """Start reading the log."""
        if not self._reading and self._pipe >= 0:
            asyncio.get_running_loop().add_reader(self._pipe, self._read)
            self._reading = True

    def stop_reading_log(self) -> None:
        """Leave the log unread, so that the pipe fills."""
        if self._reading:
            asyncio.get_running_loop().remove_reader(self._pipe)
            self._reading = False

    def close_log(self) -> None:
        """Close the pipe, so that writing to it fails."""
        self.stop_reading_log()
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def _read(self) -> None:
        try:
            data = os.read(self._pipe, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            self.close_log()
            return
        with self._log.open("ab") as file:
            file.write(data)

    @property
    def log(self) -> str:
        """The log, as far as it was read."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def tail(self) -> list[str]:
        """The last lines of the log, without the routine ones of clients that come and go."""
        lines = [line for line in self.log.splitlines() if not _ROUTINE.search(line)]
        return lines[-_TAIL:]

    # The end

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self._process is not None and self.running:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.wanted = False
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            if self._process.stdin is not None:
                with suppress(OSError):
                    self._process.stdin.close()
        self.close_log()

    async def stop(self, limit: float) -> tuple[int | None, float]:
        """Send SIGTERM, and wait until it has ended.

        Args:
            limit: seconds after which it is killed.

        Returns:
            Its exit status, None if it was killed, and the seconds that it took.
        """
        self.wanted = False
        self.signal(signal.SIGTERM)
        begin = time.monotonic()
        while self.running and time.monotonic() - begin < limit:  # noqa: ASYNC110 - a process
            await asyncio.sleep(0.01)
        seconds, status = time.monotonic() - begin, self.status
        self.kill()
        return status, seconds
