"""Portal: an event loop in a thread of its own, for programs without async.

It is never the caller's loop, because a notebook's cell already runs in one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, TypeVar

from ime_live.errors import ServiceError

T = TypeVar("T")


class Portal:
    """A running event loop; `close` ends it."""

    def __init__(self, over: str) -> None:
        """Start the thread, and wait until its loop runs.

        Args:
            over: text of the error for calls after `close`.
        """
        self._over = over
        self._closed = False
        # A coroutine that is scheduled while the lock is held is cancelled by the end of the loop.
        self._lock = threading.Lock()
        self._ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        # A daemon, so that a program that ends without closing its stream does not hang.
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
        try:
            await stop.wait()
        finally:
            with self._lock:  # the loop may also end without `close`
                self._closed = True

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and wait for it.

        An interruption of the wait (Ctrl-C) cancels the coroutine.

        Raises:
            Exception: the coroutine raised it.
            ServiceError: the portal was closed, before the call or during it.
        """
        future = self._schedule(work)
        try:
            return future.result()
        except CancelledError:
            if self._closed:
                raise ServiceError(self._over) from None
            raise
        except BaseException:
            future.cancel()
            raise

    def start(self, work: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine in the loop without waiting, until it ends or `close` cancels it.

        Raises:
            ServiceError: the portal is closed.
        """
        self._schedule(work)

    def _schedule(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        with self._lock:
            if not self._closed:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()  # otherwise Python warns that it was never awaited
        raise ServiceError(self._over)

    def soon(self, call: Callable[[], object]) -> None:
        """Schedule a call in the loop, from any thread and without waiting.

        After the loop has ended, nothing is called.
        """
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)

    def close(self) -> None:
        """Cancel the coroutines in the loop, and end the loop and its thread.

        Each coroutine is cancelled once and awaited, because a second cancellation would interrupt
        its cleanup. Callers in `run`, and later ones, get a `ServiceError`.
        """
        with self._lock:
            self._closed = True
        self.soon(self._stop.set)
        self._thread.join()
