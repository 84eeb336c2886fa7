"""Dialog: what a client sends while its stream runs, answered one after the other.

Its `Doer` does what a message asks for, and answers. While the client takes no data nothing is done
for it, so that answers do not pile up; how much may wait is bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol

from ime_live.errors import ControlError, RefusedError
from ime_live.messages import ControlRequest, read_request

if TYPE_CHECKING:
    from ime_live.log_limiter import LogLimiter

# Requests of one client that may wait. It is sent answers as fast as it may ask, if it takes them.
_MOST: Final = 100


class Doer(Protocol):
    """Who does what the client asks for; the stream's `Subscription`."""

    async def change(
        self, request: ControlRequest, writable: Callable[[], Awaitable[object]]
    ) -> None:
        """Do it and answer; ``writable`` waits until the client takes data."""

    def object_to(self, error: str, request_id: str | int | None) -> None:
        """Answer that nothing of it was done."""


class Dialog:
    """See the module's text."""

    __slots__ = ("_doer", "_limited", "_task", "_waiting", "_writable")

    def __init__(self, doer: Doer, *, writable: bool, limited: LogLimiter) -> None:
        """Begin a dialog.

        Args:
            doer: does what is asked for.
            writable: whether the client takes data.
            limited: logs failures.
        """
        self._doer = doer
        self._limited = limited
        self._waiting: deque[ControlRequest | ControlError] = deque()
        self._writable = asyncio.Event()
        if writable:
            self._writable.set()
        self._task: asyncio.Task[None] | None = None

    def receive(self, message: bytes, *, binary: bool = False) -> None:
        """Take what the client has sent; it is ignored if it asks for nothing.

        Args:
            message: a whole one.
            binary: whether it has come as a binary one.

        Raises:
            RefusedError: 1008; too much waits already.
        """
        try:
            request: ControlRequest | ControlError | None = read_request(message, binary=binary)
        except ControlError as error:
            request = error
        if request is None:
            return
        if len(self._waiting) >= _MOST:
            raise RefusedError("too many messages")
        self._waiting.append(request)
        if self._task is None:
            self._task = asyncio.create_task(self._work())

    def pause(self) -> None:
        """The client takes no data."""
        self._writable.clear()

    def resume(self) -> None:
        """It does again."""
        self._writable.set()

    def close(self) -> None:
        """The client is gone."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        while self._waiting:
            await self._writable.wait()
            if self._waiting:  # else it is gone
                await self._answer(self._waiting.popleft())
        self._task = None

    async def _answer(self, request: ControlRequest | ControlError) -> None:
        if isinstance(request, ControlError):
            self._doer.object_to(str(request), request.id)
            return
        try:
            await self._doer.change(request, self._writable.wait)
        except Exception as error:  # noqa: BLE001 - it is told, and the dialog goes on
            event = "a client's request has failed"
            self._limited.error(event, key=(event, type(error).__name__), exc_info=error)
            self._doer.object_to("internal error", request.id)
