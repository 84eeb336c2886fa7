"""Running: a command's work until it is done, or the command is told to stop; what it says."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

import typer

from ime_live.settings import LogSettings

_T = TypeVar("_T")

_STOP: Final = (signal.SIGTERM, signal.SIGINT)


def tell(line: str) -> None:
    """Write a line to standard error, if it can be written: the work is not to fail by it.

    A reader that takes its time is waited for, as by other commands. One that has gone, or a disk
    that is full, ends what the command says, and nothing else.
    """
    try:
        typer.echo(line, err=True)
    except OSError:
        # What it still holds would fail again when the interpreter ends, with a status of its own.
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - to the end of the process


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run ``work`` to its end; log lines go to standard error, as those of the services do."""
    from ime_live.logs import configure_logging

    configure_logging(LogSettings())
    return asyncio.run(work)


def run_until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` to its end; SIGTERM and Ctrl-C cancel it, which is no failure.

    Raises:
        Exception: whatever ``work`` raises.
    """

    async def run() -> None:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        stopped = False

        def stop() -> None:
            nonlocal stopped
            stopped = True
            task.cancel()

        for number in _STOP:
            loop.add_signal_handler(number, stop)
        with suppress(asyncio.CancelledError):
            await task
        for number in _STOP:
            loop.remove_signal_handler(number)
        if task.cancelled() and not stopped:
            raise RuntimeError("the work was cancelled by none of us")

    asyncio.run(run())
