"""BlockingStream: messages for a program without async, as in scripts and notebooks.

An event loop in a thread of its own receives while the program computes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Self

from ime_live.client.options import StreamOptions
from ime_live.client.portal import Portal
from ime_live.client.protocol.message import DataT, Message
from ime_live.client.protocol.selection import Selected
from ime_live.client.selectors import Ids, Markets, Underlying, selectors_of
from ime_live.client.stream.receiver import STREAM_ENDED
from ime_live.client.stream.stream import BaseStream
from ime_live.clock import SYSTEM_CLOCK
from ime_live.messages import Action
from ime_live.settings.rule import NUMBER, SWITCH


class BlockingStream(BaseStream[DataT]):
    """A running stream for a program without async.

    ::

        with ime_live.connect(url, ["ContractA"]) as stream:
            for message in stream:
                print(message)

    Several threads may read it; each message goes to one of them.
    """

    def __init__(self, options: StreamOptions, data: type[DataT]) -> None:
        """Start to receive; `ime_live.connect` calls this."""
        self._arrived = threading.Condition()
        self._portal = Portal(STREAM_ENDED)
        super().__init__(options, data, self._wake)
        self._portal.start(self._receiver.run())

    def _wake(self) -> None:
        with self._arrived:
            self._arrived.notify_all()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message[DataT]:
        """Wait for the next message and return it.

        Raises:
            StopIteration: the stream was closed.
            AuthenticationError: the token is missing or not accepted.
            UnknownContractError: a contract is unknown, or was removed from the service.
            RefusedError: the gateway refuses to serve this client.
            ServiceError: the service cannot be reached within `first_timeout`, its address is
                wrong, or its answer cannot be used.
            SettingsError: the token function did not return a valid token.
            ImportError: a SOCKS proxy needs the package python-socks.
            Exception: the token function or `on_connection` raised it.
        """
        message = self.receive()
        if message is None:
            raise StopIteration
        return message

    def receive(self, timeout: float | None = None) -> Message[DataT] | None:
        """Wait for the next message and return it.

        Args:
            timeout: longest wait in seconds; None waits without a limit.

        Returns:
            The message; None if the stream was closed.

        Raises:
            TimeoutError: no message arrived in that time.
            AuthenticationError: the token is missing or not accepted.
            UnknownContractError: a contract is unknown, or was removed from the service.
            RefusedError: the gateway refuses to serve this client.
            ServiceError: the service cannot be reached within `first_timeout`, its address is
                wrong, or its answer cannot be used.
            SettingsError: the token function did not return a valid token.
            ImportError: a SOCKS proxy needs the package python-socks.
            Exception: the token function or `on_connection` raised it.
        """
        NUMBER.or_none().check("timeout", timeout)
        receiver = self._receiver
        deadline = None if timeout is None else SYSTEM_CLOCK.monotonic() + timeout
        while (message := receiver.queue.take()) is None:
            if receiver.ended:
                if receiver.failure is not None:
                    raise receiver.failure
                return None
            # Another thread may take each message that arrives: the limit is for all waits.
            remaining = None if deadline is None else deadline - SYSTEM_CLOCK.monotonic()
            with self._arrived:
                if (remaining is not None and remaining <= 0) or not self._arrived.wait_for(
                    self._is_new, remaining
                ):
                    raise TimeoutError(f"a message is expected within {timeout} s, got none")
        if receiver.full:
            self._portal.soon(receiver.note_room)
        return message

    def _is_new(self) -> bool:
        return bool(self._receiver.queue) or self._receiver.ended

    def add(
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
        self._portal.run(self._receiver.change(Action.SUBSCRIBE, keys, snapshot))
        return self.contracts

    def remove(
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
        self._portal.run(self._receiver.change(Action.UNSUBSCRIBE, keys, None))
        return self.contracts

    def close(self) -> None:
        """Close the connection and end the thread. Messages in the queue can still be read.

        An `add` or `remove` that waits in another thread raises `ServiceError`.
        """
        self._portal.close()
        self._receiver.end()
