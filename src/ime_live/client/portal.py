"""Portal: an event loop in a thread of its own, for programs that have none or are inside one.

Coroutines go in, their results come out in the caller's thread. A notebook's cell already runs in
an event loop, so the loop here is never the caller's.
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
            over: what a call is told that cannot be done any more.
        """
        self._over = over
        self._closed = False
        # Whatever is scheduled under it comes before the loop's end, and so is told of it.
        self._lock = threading.Lock()
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
        try:
            await stop.wait()
        finally:
            with self._lock:  # also when something else than `close` has ended the loop
                self._closed = True

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop and wait for it.

        An interruption (Ctrl-C) of the wait cancels it.

        Raises:
            Exception: what the coroutine raises.
            ServiceError: the portal is closed, or was while this waited.
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
        work.close()  # or Python complains that nobody has awaited it
        raise ServiceError(self._over)

    def soon(self, call: Callable[[], object]) -> None:
        """Have something called in the loop; without waiting, from any thread.

        Nothing is called once the loop has ended.
        """
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)

    def close(self) -> None:
        """End what runs in the loop, the loop and its thread.

        What runs is cancelled once, and waited for: a second time would cut its leave-taking short.
        Who waits in `run` is told by a `ServiceError`, and so is whoever comes later.
        """
        with self._lock:
            self._closed = True
        self.soon(self._stop.set)
        self._thread.join()
