"""Signal handling: stop, reload and drain a process.

Ctrl-C must never show a traceback. So SIGINT has the system's default action, which ends a process
silently, except while a loop runs that can stop cleanly. SIGHUP, with which service managers ask a
program to reload its settings, never ends a process: a program that cannot reload logs that it is
ignored. SIGUSR2 drains a gateway, and is ignored by other programs.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Everything else is imported where it is used: until `reset`, Ctrl-C shows a traceback.

STOP = (signal.SIGINT, signal.SIGTERM)

DRAIN = signal.SIGUSR2
"""The same signal as for NATS. SIGUSR1 often means to reopen log files."""

_BLOCKED = (signal.SIGINT, signal.SIGHUP, DRAIN)
"""Signals that must not reach a child process before it has its own handlers."""


def reset() -> None:
    """Let SIGINT end the process silently, and ignore SIGHUP and SIGUSR2 until `handle`."""
    # A shell starts background processes with SIGINT ignored; that is kept.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(DRAIN, signal.SIG_IGN)


def report_hangup() -> None:
    """Report an ignored SIGHUP in the log, or on standard error if there is no log."""
    import sys

    import structlog

    message = "SIGHUP is ignored; settings are read at the start"
    if structlog.is_configured():
        structlog.get_logger().info(message)
    else:
        print(message, file=sys.stderr)


@contextmanager
def handle(
    stop: Callable[[signal.Signals], None],
    *,
    hangup: Callable[[], None] = report_hangup,
    drain: Callable[[], object] | None = None,
) -> Iterator[None]:
    """Handle signals in the running loop inside the block.

    Args:
        stop: called for each SIGINT and SIGTERM.
        hangup: called for each SIGHUP.
        drain: called for each SIGUSR2; None leaves it ignored.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    for number in STOP:
        loop.add_signal_handler(number, stop, number)
    loop.add_signal_handler(signal.SIGHUP, hangup)
    if drain is not None:
        loop.add_signal_handler(DRAIN, drain)
    # `block` keeps these signals back until a child process has come this far.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)
    try:
        yield
    finally:
        for number in (*STOP, signal.SIGHUP, DRAIN):
            loop.remove_signal_handler(number)
        reset()


@contextmanager
def block() -> Iterator[None]:
    """Hold signals back inside the block; child processes started in it inherit that.

    A terminal's Ctrl-C reaches all processes of a group, including a child whose interpreter is
    still starting and would show a traceback. The child unblocks the signals in `handle`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
