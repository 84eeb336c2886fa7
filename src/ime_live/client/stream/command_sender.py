"""Command sender: add and remove contracts of a stream while it is connected."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from websockets import exceptions as ends
from websockets.asyncio.client import ClientConnection

from ime_live.client.options import StreamOptions
from ime_live.client.protocol.command import COMMAND_RATE, Change
from ime_live.client.protocol.message import Selector
from ime_live.client.protocol.selection import Selection
from ime_live.errors import ImeLiveError, ServiceError
from ime_live.messages import Action


class CommandSender:
    """Sends the commands of a selection on one connection after the other.

    Attributes:
        changed: set when the selection has a new change.
    """

    def __init__(self, selection: Selection, options: StreamOptions) -> None:
        """Create a sender without a connection.

        Args:
            selection: the contracts of the stream; the receiver passes it the answers.
            options: options of the stream.
        """
        self.changed = asyncio.Event()
        self._selection = selection
        self._snapshot = options.snapshot
        self._limit = options.open_timeout

    async def change(self, action: Action, keys: Sequence[Selector], snapshot: bool | None) -> None:
        """Add or remove contracts, and wait for the answer.

        Args:
            action: whether to add or to remove them.
            keys: the contracts.
            snapshot: whether to send the present states of added contracts; None as for the stream.

        Raises:
            UnknownContractError: some contracts do not exist; the others are done.
            RefusedError: the token does not cover some contracts; the others are done.
            ControlError: the gateway refused the whole command.
            ServiceError: there was no answer, or the stream has ended.
        """
        settled = asyncio.Event()
        change = Change(
            action,
            keys,
            snapshot=self._snapshot if snapshot is None else snapshot,
            settled=settled.set,
        )
        self._selection.add(change)
        self.changed.set()
        try:
            await settled.wait()
        except asyncio.CancelledError:
            self._selection.drop(change)
            raise
        if (error := change.error()) is not None:
            raise error

    async def run(self, connection: ClientConnection) -> None:
        """Send the commands of the selection until cancelled.

        Raises:
            ServiceError: a command of the library itself has no answer in time.
        """
        loop, due = asyncio.get_running_loop(), 0.0
        limit = self._limit
        fatal: ImeLiveError | None = None

        def check(number: str | int | None) -> None:
            nonlocal fatal
            error = ServiceError(f"the gateway must answer a command within {limit:g} s, got none")
            fatal = self._selection.expire(number, error) or fatal
            if fatal is not None:
                self.changed.set()

        timers: list[asyncio.TimerHandle] = []
        try:
            while fatal is None:
                self.changed.clear()
                while (request := self._selection.next_request()) is not None:
                    due, wait = COMMAND_RATE.take(due, loop.time())
                    while wait:
                        await asyncio.sleep(wait)
                        due, wait = COMMAND_RATE.take(due, loop.time())
                    try:
                        await connection.send(request.to_json(), text=True)
                    except ends.ConnectionClosed:
                        await asyncio.Event().wait()  # the reader of the connection raises the end
                    timers = [timer for timer in timers if timer.when() > loop.time()]
                    timers.append(loop.call_later(limit, check, request.id))
                await self.changed.wait()
        finally:
            # Without a connection an answer is not overdue: the command is sent again.
            for timer in timers:
                timer.cancel()
        raise fatal
