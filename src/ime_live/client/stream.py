"""Stream: messages for an async program.

Messages that a receiver has put into an inbox go out by ``async for``; changes of the selection go
the other way. A task of its own receives, so a program may take its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Generic, Self

from ime_live.client.inbox import inbox_of
from ime_live.client.message import DataT, Message, Reader, Status
from ime_live.client.options import Ids, StreamOptions, keys_of
from ime_live.client.receiver import Receiver
from ime_live.client.selection import Selected
from ime_live.messages import Action


class Stream(Generic[DataT]):
    """A running stream; ``async with ime_live.connect(…) as stream`` makes one."""

    def __init__(self, options: StreamOptions, data: type[DataT]) -> None:
        """Begin to receive; a running event loop is needed."""
        self._arrived = asyncio.Event()
        self._receiver = Receiver(
            options,
            Reader(options.zone, data),
            inbox_of(options.queue, options.queue_size),
            self._arrived.set,
        )
        self._task = asyncio.create_task(self._receiver.run(), name="ime_live.client")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'connected' if self.connected else 'not connected'}>"

    @property
    def status(self) -> Status | None:
        """The newest state of the feed, with ``status=True``; None while there is no connection.

        It may be ahead of the messages that are still in the queue.
        """
        return self._receiver.status

    @property
    def connected(self) -> bool:
        """Whether there is a connection just now."""
        return self._receiver.connected

    @property
    def skipped(self) -> int:
        """How many messages the queue has replaced or dropped, of all contracts."""
        return self._receiver.inbox.skipped

    @property
    def contracts(self) -> Selected:
        """The selection: what the stream began with, and changes that the gateway has confirmed.

        A contract by name and by id is in it once, as soon as the gateway has told so.
        """
        return self._receiver.selection.contracts

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message[DataT]:
        """The next message.

        Raises:
            StopAsyncIteration: the stream was closed.
            AuthenticationError: the token is missing or not good.
            UnknownContractError: a contract is not known, or not any more.
            RefusedError: the gateway does not want to serve this client.
            ServiceError: the service answers what cannot be used.
        """
        receiver = self._receiver
        while (message := receiver.inbox.take()) is None:
            if receiver.ended:
                if receiver.failure is not None:
                    raise receiver.failure
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        if receiver.full:
            receiver.made_room()
        return message

    async def add(
        self,
        contract_names: Iterable[str] = (),
        contract_ids: Ids = (),
        *,
        snapshot: bool | None = None,
    ) -> Selected:
        """Add contracts, and wait until the gateway has; without a connection, until there is one.

        Args:
            contract_names: contracts by name.
            contract_ids: contracts by id.
            snapshot: whether their present states come at once; by default as for the stream.

        Returns:
            The whole selection.

        Raises:
            UnknownContractError: there are no such contracts; the text names them. The others
                were added.
            RefusedError: the token does not cover them. The others were added.
            SettingsError: what is given cannot be a name or an id.
            ServiceError: there was no answer, or the stream has ended.
        """
        keys = keys_of(contract_names, contract_ids)
        await self._receiver.change(Action.SUBSCRIBE, keys, snapshot)
        return self.contracts

    async def remove(self, contract_names: Iterable[str] = (), contract_ids: Ids = ()) -> Selected:
        """Remove contracts, and wait as `add` does. What is in the queue of them is dropped.

        Returns:
            The rest of the selection.

        Raises:
            UnknownContractError, RefusedError, SettingsError, ServiceError: as in `add`.
        """
        keys = keys_of(contract_names, contract_ids)
        await self._receiver.change(Action.UNSUBSCRIBE, keys, None)
        return self.contracts

    async def aclose(self) -> None:
        """End the connection. What is in the queue can still be read."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._receiver.end()  # a task that was cancelled before it began has not done so
