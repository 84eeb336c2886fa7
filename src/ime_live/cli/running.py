"""Run a command's work until it ends or is stopped, and report its progress."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

import typer

from ime_live.process import signals
from ime_live.settings import LogSettings

_T = TypeVar("_T")

_LIVE: Final = 1.0  # seconds between two updates of the line on a terminal
_PLAIN: Final = 60.0  # seconds between two lines elsewhere

_CLEAR_LINE: Final = "\x1b[2K"

_SIGNALLED: Final = 128  # what shells add to a signal's number to make an exit status of it


def write_stderr(line: str) -> None:
    """Write a line to standard error; a failed write does not end the command.

    It waits for a slow reader. If the reader has closed the pipe, or the disk is full, the command
    continues without further output.
    """
    try:
        typer.echo(line, err=True)
    except OSError:
        # Its buffer would fail again when the interpreter ends, with a status of its own.
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - to the end of the process


def colour(text: str, name: str) -> str:
    """Colour a text for standard output, where that is a terminal and ``NO_COLOR`` is not set."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return typer.style(text, fg=name)


def write_stderr_nowait(line: str) -> None:
    """Write a line to standard error without waiting for a slow reader; it may be dropped.

    It uses the log writer, so call it inside `run`.
    """
    from ime_live.logs import write_line

    write_line(line)


@asynccontextmanager
async def progress(line: Callable[[], str], log: Callable[[], None]) -> AsyncIterator[None]:
    """Show the progress of long work: in one line of a terminal, or by repeated lines elsewhere.

    Args:
        line: returns the line for a terminal.
        log: writes a line if there is no terminal; called once a minute.
    """
    live = sys.stderr.isatty()

    def write(text: str) -> None:
        # The cursor stays at the line's beginning, so that a log line overwrites it.
        os.write(sys.stderr.fileno(), f"{_CLEAR_LINE}{text}\r".encode())

    async def show() -> None:
        while True:
            await asyncio.sleep(_LIVE if live else _PLAIN)
            if live:
                columns = shutil.get_terminal_size().columns - 1  # a longer one takes two lines
                # In a thread, as a terminal may be stopped.
                await asyncio.to_thread(write, line()[:columns])
            else:
                log()

    showing = asyncio.create_task(show())
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        if live:
            with suppress(OSError):
                write("")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run ``work`` to its end; log lines go to standard error, as those of the services do.

    Raises:
        typer.Exit: SIGTERM or Ctrl-C has cancelled it.
        Exception: ``work`` raised it.
    """
    from ime_live.logs import configure_logging

    configure_logging(LogSettings())
    results: list[_T] = []

    async def keep() -> None:
        results.append(await work)

    if status := run_until_stopped(keep()):
        raise typer.Exit(status)
    return results[0]


def run_until_stopped(
    work: Coroutine[Any, Any, None], hangup: Callable[[], None] = signals.report_hangup
) -> int:
    """Run ``work`` to its end; SIGTERM and Ctrl-C cancel it.

    Args:
        work: the work.
        hangup: called in its loop for each SIGHUP.

    Returns:
        0 if the work was completed, else the exit status that shells use for the signal.

    Raises:
        Exception: ``work`` raised it.
    """

    async def run() -> int:
        task = asyncio.ensure_future(work)
        received: list[signal.Signals] = []

        def stop(number: signal.Signals) -> None:
            received.append(number)
            task.cancel()

        with signals.handle(stop, hangup=hangup), suppress(asyncio.CancelledError):
            await task
        if task.cancelled() and not received:
            raise RuntimeError("the work must not be cancelled from outside, but was")
        return _SIGNALLED + received[0] if task.cancelled() else 0

    return asyncio.run(run())
