"""Handle signals: SIGINT and SIGTERM stop a process, SIGHUP reloads settings, SIGUSR2 drains.

Ctrl-C must never show a traceback. So SIGINT has the default action of the system, which ends a
process silently, except while an event loop runs that can stop cleanly. SIGHUP never ends a
process: a program that cannot reload its settings logs that. Only a gateway handles SIGUSR2.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Other modules are imported where they are used, because Ctrl-C shows a traceback until `reset`.

STOP = (signal.SIGINT, signal.SIGTERM)

DRAIN = signal.SIGUSR2
"""The signal that drains a gateway, as in NATS. Many services reopen their logs on SIGUSR1."""

_BLOCKED = (signal.SIGINT, signal.SIGHUP, DRAIN)
"""Signals that must not reach a child process before it has its own handlers."""


def reset() -> None:
    """Let SIGINT end the process silently, and ignore SIGHUP and SIGUSR2 until `handled`."""
    # A shell starts background processes with SIGINT ignored, which is kept.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(DRAIN, signal.SIG_IGN)


def report_hangup() -> None:
    """Log that SIGHUP is ignored, or print this to standard error if there is no log."""
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
    """Handle signals in the running event loop, in the block.

    Args:
        stop: called for each SIGINT and SIGTERM.
        hangup: called for each SIGHUP.
        drain: called for each SIGUSR2; None to ignore it.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    for number in STOP:
        loop.add_signal_handler(number, stop, number)
    loop.add_signal_handler(signal.SIGHUP, hangup)
    if drain is not None:
        loop.add_signal_handler(DRAIN, drain)
    # In a child process that was started in `blocked`, the signals were blocked until now.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED)
    try:
        yield
    finally:
        for number in (*STOP, signal.SIGHUP, DRAIN):
            loop.remove_signal_handler(number)
        reset()


@contextmanager
def block() -> Iterator[None]:
    """Block signals in the block, and in child processes that are started in it.

    Ctrl-C in a terminal reaches all processes of a group. One whose interpreter is just starting
    would show a traceback. A child process unblocks the signals in `handled`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
