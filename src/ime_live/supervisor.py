"""Supervisor: processes that run as long as we do, are restarted when they die, and end with us.

Commands and their environments come in; log lines go out. It knows nothing of what they do. The
kernel ends them when we are killed (Linux: PR_SET_PDEATHSIG), and a terminal's Ctrl-C reaches
only us, so that they end in good order.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import random
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import structlog
from msgspec import Struct

from ime_live.errors import SettingsError

log = structlog.get_logger()

WRONG_USE: Final = 2  # the exit status of our commands for settings that cannot work

_FIRST_DELAY: Final = 0.5  # seconds before a process that died is started again
_LONGEST_DELAY: Final = 30.0
_RAN_WELL: Final = 60.0  # seconds after which a death has nothing to do with the one before
_STOP_TIMEOUT: Final = 15.0  # seconds within which a process ends that was told to

_PR_SET_PDEATHSIG: Final = 1  # of linux/prctl.h


class Child(Struct, frozen=True):
    """A process to run.

    Attributes:
        name: for the log.
        command: program and arguments. No secrets: other users can see them.
        environment: variables besides ours.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = {}


class Supervisor:
    """Runs children; see the module's text."""

    def __init__(self, children: Sequence[Child]) -> None:
        """Take the children, in the order in which they start; they end in the other one."""
        self._children = children
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def run(self) -> None:
        """Run them until cancelled, then end them, one after the other.

        Raises:
            SettingsError: one of them cannot work with its settings.
        """
        tasks = [asyncio.create_task(self._keep(child)) for child in self._children]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # none of them ends but by an error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for child in reversed(self._children):
                await self._end(child.name)

    async def _keep(self, child: Child) -> None:
        delay = _FIRST_DELAY
        clock = asyncio.get_running_loop().time
        first = True
        while True:
            started = clock()
            process = await self._start(child)
            status = await process.wait()
            ran = clock() - started
            if first and status == WRONG_USE:
                raise SettingsError(f"{child.name} cannot run with these settings; see above")
            first = False
            if ran >= _RAN_WELL:
                delay = _FIRST_DELAY
            # Neighbours that died of one cause do not come back in step.
            wait = delay * random.uniform(0.5, 1.0)  # noqa: S311
            delay = min(2 * delay, _LONGEST_DELAY)
            log.error(
                "process died; starting it again",
                process=child.name,
                status=_told(status),
                seconds=round(wait, 2),
            )
            await asyncio.sleep(wait)

    async def _start(self, child: Child) -> asyncio.subprocess.Process:
        parent = os.getpid()
        process = await asyncio.create_subprocess_exec(
            *child.command,
            stdin=asyncio.subprocess.DEVNULL,
            env=os.environ | dict(child.environment),
            start_new_session=True,
            preexec_fn=lambda: _end_with(parent),
        )
        self._processes[child.name] = process
        log.info("process started", process=child.name, pid=process.pid)
        return process

    async def _end(self, name: str) -> None:
        process = self._processes.get(name)
        if process is None or process.returncode is not None:
            return
        process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_TIMEOUT):
                await process.wait()
        if process.returncode is None:
            log.error("process does not end; killing it", process=name)
            process.kill()
            await process.wait()


# Loaded before any fork: between fork and exec no more may be done than to call it.
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def _end_with(parent: int) -> None:
    """In the child: be ended when our parent dies."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died just now
        os.kill(os.getpid(), signal.SIGTERM)


def _told(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else str(status)
