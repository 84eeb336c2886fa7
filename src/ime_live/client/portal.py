"""Portal: an event loop in a thread of its own, for programs that have none or are inside one.

Coroutines go in, their results come out in the caller's thread. A notebook's cell already runs in
an event loop, so the loop here is never the caller's.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Portal:
    """A running event loop; `close` ends it."""

    def __init__(self) -> None:
        """Start the thread, and wait until its loop runs."""
        self._ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        # A daemon: a program that ends without closing its stream must not hang.
        self._thread = threading.Thread(target=self._run, name="ime_live.client", daemon=True)
        self._thread.start()
        self._loop, self._stop = self._ready.result()

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _live(self) -> None:
        stop = asyncio.Event()
        self._ready.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and wait for it.

        An interruption (Ctrl-C) of the wait cancels it.

        Raises:
            Exception: what the coroutine raises.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def start(self, work: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine in the loop without waiting, until it ends or `close` cancels it."""
        asyncio.run_coroutine_threadsafe(work, self._loop)

    def soon(self, call: Callable[[], object]) -> None:
        """Have something called in the loop; without waiting, from any thread.

        Nothing is called once the loop has ended.
        """
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)

    def close(self) -> None:
        """End what runs in the loop, the loop and its thread.

        What runs is cancelled once, and waited for: a second time would cut its leave-taking short.
        """
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
