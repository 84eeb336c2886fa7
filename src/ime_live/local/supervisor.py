"""Supervisor: run child processes, restart dead ones, and stop all with this process.

If this process is killed, the kernel ends its children (Linux: PR_SET_PDEATHSIG). A terminal's
Ctrl-C reaches this process only, so that the children end cleanly.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct

from ime_live.backoff import Backoff
from ime_live.clock import SYSTEM_CLOCK
from ime_live.errors import SettingsError

log = structlog.get_logger()

WRONG_USE: Final = 2  # the exit status of our commands for settings that cannot work

_MAX_DELAY: Final = 30.0  # seconds before a process that died is started again
_RAN_WELL: Final = 60.0  # seconds of running after which earlier deaths no longer count
_STOP_TIMEOUT: Final = 15.0  # seconds that a process has to end after SIGTERM

_POLL_INTERVAL: Final = 1.0  # seconds between two checks whether a process is suspended
_STOPPED: Final = 5.0  # seconds after which a suspended process is replaced

_PR_SET_PDEATHSIG: Final = 1  # of linux/prctl.h


class Child(Struct, frozen=True):
    """A process to run.

    Attributes:
        name: name for the log.
        command: program and arguments, without secrets: other users can see them.
        environment: variables in addition to those of this process; None for one to leave out.
        inherits: numbers of open files to inherit besides the standard ones.
        log: file with the reason of its death; empty if it logs to standard error.
        stop_timeout: seconds that it has to end after SIGTERM, before it is killed.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str | None] = {}
    inherits: Sequence[int] = ()
    log: str = ""
    stop_timeout: float = _STOP_TIMEOUT


class Supervisor:
    """Runs and restarts child processes."""

    def __init__(self, children: Sequence[Child]) -> None:
        """Create a supervisor of children, which start in this order and stop in reverse."""
        self._children = children
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    def send(self, number: signal.Signals, names: Collection[str]) -> None:
        """Send a signal to the children with these names that run now."""
        for name, process in self._processes.items():
            if name in names and process.returncode is None:
                with suppress(ProcessLookupError):  # it ended just now
                    process.send_signal(number)

    async def run(self) -> None:
        """Run them until cancelled, then end them, one after the other.

        Raises:
            SettingsError: one of them cannot work with its settings.
        """
        tasks = [asyncio.create_task(self._keep(child)) for child in self._children]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # each ends only with an error
        finally:
            ending = asyncio.create_task(self._end_all(tasks))
            # A second cancellation must leave nothing behind: each process has its time to end.
            while not ending.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.shield(ending)
            ending.result()

    async def _end_all(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for child in reversed(self._children):
            await self._end(child)

    async def _keep(self, child: Child) -> None:
        backoff = Backoff(_MAX_DELAY, lasting=_RAN_WELL)
        first = True
        while True:
            started = SYSTEM_CLOCK.monotonic()
            status = await self._run(child)
            if first and status == WRONG_USE:
                raise SettingsError(f"{child.name} cannot run with these settings; see above")
            first = False
            wait = backoff.next(SYSTEM_CLOCK.monotonic() - started)
            log_fields = {"see": child.log} if child.log else {}
            log.error(
                "process died; starting it again",
                process=child.name,
                status=_describe(status),
                seconds=round(wait, 2),
                **log_fields,
            )
            await asyncio.sleep(wait)

    async def _run(self, child: Child) -> int | str:
        """Run a process to its end; return its exit status, or the error of its start."""
        try:
            process = await asyncio.create_subprocess_exec(
                *child.command,
                stdin=asyncio.subprocess.DEVNULL,
                env={k: v for k, v in _environment_of(child).items() if v is not None},
                pass_fds=child.inherits,
                start_new_session=True,
                preexec_fn=die_with_parent(os.getpid()),
            )
        except OSError as error:  # usually no memory or no process is left
            return error.strerror or str(error)
        self._processes[child.name] = process
        log.info("process started", process=child.name, pid=process.pid)
        stopped = 0.0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL_INTERVAL):
                    return await process.wait()
            stopped = stopped + _POLL_INTERVAL if _is_stopped(process.pid) else 0.0
            if stopped >= _STOPPED:
                log.error("process is stopped; killing it", process=child.name, pid=process.pid)
                process.kill()

    async def _end(self, child: Child) -> None:
        process = self._processes.get(child.name)
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):  # it ended just now
            process.terminate()
            process.send_signal(signal.SIGCONT)  # a suspended process would not receive SIGTERM
        with suppress(TimeoutError):
            async with asyncio.timeout(child.stop_timeout):
                await process.wait()
        if process.returncode is None:
            log.error("process does not exit; killing it", process=child.name)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and what it has started
            await process.wait()


def _environment_of(child: Child) -> dict[str, str | None]:
    return {**os.environ, **child.environment}


def _is_stopped(pid: int) -> bool:
    """Return whether a process is suspended by a signal (state T of proc(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:  # it ended just now, or this is not Linux
        return False
    return stat.rpartition(")")[2].split()[0] == "T"


# Loaded before any fork: between fork and exec no more may be done than to call it.
_prctl = getattr(ctypes.CDLL(None), "prctl", None)


def die_with_parent(parent: int, number: int = signal.SIGTERM) -> Callable[[], None] | None:
    """Return a function that makes the kernel signal a child when its parent dies; None elsewhere.

    Call it in the child between fork and exec. The parent is the thread that creates the child.

    Args:
        parent: process id of the parent.
        number: number of the signal.
    """
    if _prctl is None:
        return None

    def prepare() -> None:
        _prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died just now
            os.kill(os.getpid(), number)

    return prepare


def _describe(status: int | str) -> str:
    if isinstance(status, int) and status < 0:
        return signal.Signals(-status).name
    return str(status)
