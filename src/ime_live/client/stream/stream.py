"""Stream: messages for an async program; and the base of both kinds of stream.

A task of its own receives, so a slow program does not delay the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Generic, Self

from ime_live.client.options import StreamOptions
from ime_live.client.protocol.message import DataT, Message, Status
from ime_live.client.protocol.selection import Selected
from ime_live.client.selectors import Ids, Markets, Underlying, selectors_of
from ime_live.client.stream.receiver import Receiver
from ime_live.messages import Action
from ime_live.settings.rule import SWITCH


class BaseStream(Generic[DataT]):
    """The common part of `Stream` and `BlockingStream`."""

    def __init__(self, options: StreamOptions, data: type[DataT], wake: Callable[[], None]) -> None:
        """Create a stream whose receiver does not run yet.

        Args:
            options: options of the stream.
            data: type of its messages' data.
            wake: called when there is a message to read, or the stream has ended.
        """
        self._receiver = Receiver(options, data, wake)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'connected' if self.connected else 'not connected'}>"

    @property
    def status(self) -> Status | None:
        """The newest state of the feed; None without ``status=True`` or a connection.

        It may be newer than the messages in the queue.
        """
        return self._receiver.status

    @property
    def connected(self) -> bool:
        """Whether there is a connection at present."""
        return self._receiver.connected

    @property
    def skipped(self) -> int:
        """Number of messages that the queue has replaced or dropped, of all contracts."""
        return self._receiver.queue.skipped

    @property
    def contracts(self) -> Selected:
        """The contracts of the stream: those of `connect`, with the changes that are confirmed.

        After the first change, a contract that was selected by name and by id is in it once.
        """
        return self._receiver.selection.contracts


class Stream(BaseStream[DataT]):
    """A running stream, for async programs.

    ::

        async with ime_live.connect(url, ["ContractA"]) as stream:
            async for message in stream:
                print(message)
    """

    def __init__(self, options: StreamOptions, data: type[DataT]) -> None:
        """Start to receive in the running event loop; `ime_live.connect` calls this."""
        self._arrived = asyncio.Event()
        super().__init__(options, data, self._arrived.set)
        self._task = asyncio.create_task(self._receiver.run(), name="ime_live.client")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message[DataT]:
        """Wait for the next message and return it.

        Raises:
            StopAsyncIteration: the stream was closed.
            AuthenticationError: the token is missing or not accepted.
            UnknownContractError: a contract is unknown, or was removed from the service.
            RefusedError: the gateway refuses to serve this client.
            ServiceError: the service cannot be reached within `first_timeout`, its address is
                wrong, or its answer cannot be used.
            SettingsError: the token function did not return a valid token.
            ImportError: a SOCKS proxy needs the package python-socks.
            Exception: the token function or `on_connection` raised it.
        """
        receiver = self._receiver
        while (message := receiver.queue.take()) is None:
            if receiver.ended:
                if receiver.failure is not None:
                    raise receiver.failure
                raise StopAsyncIteration
            self._arrived.clear()
            await self._arrived.wait()
        if receiver.full:
            receiver.note_room()
        return message

    async def add(
        self,
        contract_names: Iterable[str] = (),
        contract_ids: Ids = (),
        *,
        markets: Markets = (),
        underlying: Underlying = None,
        snapshot: bool | None = None,
    ) -> Selected:
        """Add contracts to the stream, and wait until the gateway confirms it.

        Without a connection, the call waits until there is one.

        Args:
            contract_names: contracts by name, and patterns of names.
            contract_ids: contracts by id, and patterns of ids.
            markets: all contracts of these markets, including those that are listed later.
            underlying: all contracts of an underlying, by its name or id, or of several. Together
                with `markets` or patterns, only contracts that match both are added.
            snapshot: whether to send their present states at once; None takes that of `connect`.

        Returns:
            All contracts of the stream.

        Raises:
            UnknownContractError: some contracts do not exist; the text names them. The others
                are added.
            RefusedError: the token does not cover some contracts. The others are added.
            ControlError: the gateway refused the whole command.
            SettingsError: an argument cannot be used; the text names it.
            ServiceError: the gateway did not answer, or the stream has ended.
        """
        SWITCH.or_none().check("snapshot", snapshot)
        keys = selectors_of(contract_names, contract_ids, markets, underlying)
        await self._receiver.change(Action.SUBSCRIBE, keys, snapshot)
        return self.contracts

    async def remove(
        self,
        contract_names: Iterable[str] = (),
        contract_ids: Ids = (),
        *,
        markets: Markets = (),
        underlying: Underlying = None,
    ) -> Selected:
        """Remove contracts from the stream, and wait until the gateway confirms it.

        Their messages in the queue are dropped.

        Args:
            contract_names: contracts by name, and patterns of names.
            contract_ids: contracts by id, and patterns of ids.
            markets: markets of a filter. A filter must be removed as it was added: its markets,
                underlyings and patterns together. A contract that only a filter matches cannot be
                removed by name.
            underlying: underlyings of a filter.

        Returns:
            The remaining contracts of the stream.

        Raises:
            UnknownContractError: some contracts do not exist; the text names them. The others
                are removed.
            RefusedError: a filter matches some contracts, so only the filter can be removed. The
                other contracts are removed.
            ControlError: the gateway refused the whole command.
            SettingsError: an argument cannot be used; the text names it.
            ServiceError: the gateway did not answer, or the stream has ended.
        """
        keys = selectors_of(contract_names, contract_ids, markets, underlying)
        await self._receiver.change(Action.UNSUBSCRIBE, keys, None)
        return self.contracts

    async def aclose(self) -> None:
        """Close the connection. Messages in the queue can still be read."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._receiver.end()  # a task that was cancelled before its start has not called it
