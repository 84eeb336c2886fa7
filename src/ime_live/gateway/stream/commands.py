"""Carry out the commands that a client sends while its stream runs, one after the other.

No command is carried out while the client's socket is not writable, so that answers do not pile up.
The number of waiting commands is bounded.
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

# Commands of one client that may wait. A client that reads its answers keeps the queue short.
_MAX_WAITING: Final = 100


class CommandHandler(Protocol):
    """Carries out commands, as `Subscription` does."""

    async def change(
        self, request: ControlRequest, writable: Callable[[], Awaitable[object]]
    ) -> None:
        """Carry out a command and answer it; ``writable`` waits until the socket is writable."""

    def reject(self, error: str, request_id: str | int | None) -> None:
        """Answer a command that was not carried out."""


class CommandQueue:
    """Queue of the commands of one client."""

    __slots__ = ("_handler", "_limited", "_task", "_turn", "_waiting", "_writable")

    def __init__(
        self,
        handler: CommandHandler,
        *,
        writable: bool,
        turn: Callable[[], Awaitable[object]],
        limited: LogLimiter,
    ) -> None:
        """Make an empty queue.

        Args:
            handler: carries out the commands.
            writable: whether the client's socket is writable.
            turn: waits until a command may be carried out; see `WorkQueue.turn`.
            limited: logs failures.
        """
        self._handler = handler
        self._turn = turn
        self._limited = limited
        self._waiting: deque[ControlRequest | ControlError] = deque()
        self._writable = asyncio.Event()
        if writable:
            self._writable.set()
        self._task: asyncio.Task[None] | None = None

    def receive(self, message: bytes, *, binary: bool = False) -> None:
        """Queue a message of the client; ignore it if it is not a command.

        Args:
            message: a complete message.
            binary: whether it is a binary message.

        Raises:
            RefusedError: 1008; too many commands wait.
        """
        try:
            request: ControlRequest | ControlError | None = read_request(message, binary=binary)
        except ControlError as error:
            request = error
        if request is None:
            return
        if len(self._waiting) >= _MAX_WAITING:
            raise RefusedError("too many messages")
        self._waiting.append(request)
        if self._task is None:
            self._task = asyncio.create_task(self._work())

    def pause(self) -> None:
        """Carry out no more commands, because the client's socket is not writable."""
        self._writable.clear()

    def resume(self) -> None:
        """Continue, because the client's socket is writable again."""
        self._writable.set()

    def close(self) -> None:
        """Drop the waiting commands, because the client has left."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        while self._waiting:
            await self._writable.wait()
            await self._turn()
            if self._waiting:  # else the client has left
                await self._answer(self._waiting.popleft())
        self._task = None

    async def _answer(self, request: ControlRequest | ControlError) -> None:
        if isinstance(request, ControlError):
            self._handler.reject(str(request), request.id)
            return
        try:
            await self._handler.change(request, self._writable.wait)
        except Exception as error:  # noqa: BLE001 - logged and answered; the next command follows
            event = "command failed"
            self._limited.error(event, key=(event, type(error).__name__), exc_info=error)
            self._handler.reject("internal error", request.id)
