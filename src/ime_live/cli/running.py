"""Running: a command's work until it is done, or the command is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

_STOP: Final = (signal.SIGTERM, signal.SIGINT)


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
