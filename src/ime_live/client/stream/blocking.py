"""The blocking variants of `Stream` and `AsyncClient`, for scripts and notebooks.

They do the same without ``async``: an event loop in a thread of its own receives while the program
computes.
"""

from __future__ import annotations

import ssl as tls
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Generic, Self, overload

from ime_live.client.network.credentials import Token
from ime_live.client.network.proxy import Proxy
from ime_live.client.options import Ids, StreamOptions, keys_of
from ime_live.client.portal import Portal
from ime_live.client.protocol.message import DataT, Message, Reader, Status
from ime_live.client.protocol.queue import inbox_of
from ime_live.client.protocol.selection import Selected
from ime_live.client.rest.async_client import AsyncClient, Overview, SectionT
from ime_live.client.stream.receiver import Receiver
from ime_live.contracts import Contract, Market
from ime_live.market import Payload
from ime_live.messages import Action


class BlockingStream(Generic[DataT]):
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
        self._portal = Portal("the stream has ended")
        self._receiver: Receiver[DataT] = Receiver(
            options,
            Reader(options.zone, data),
            inbox_of(options.queue, options.queue_size),
            self._wake,
        )
        self._portal.start(self._receiver.run())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'connected' if self.connected else 'not connected'}>"

    def _wake(self) -> None:
        with self._arrived:
            self._arrived.notify_all()

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
        return self._receiver.inbox.skipped

    @property
    def contracts(self) -> Selected:
        """The contracts of the stream: the first ones, and changes once they are confirmed."""
        return self._receiver.selection.contracts

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message[DataT]:
        """Wait for the next message and return it.

        Raises:
            StopIteration: the stream was closed.
            AuthenticationError: the token is missing or not accepted.
            UnknownContractError: a contract is not known, or no longer.
            RefusedError: the gateway refuses to serve this client.
            ServiceError: the service cannot be reached within `first_timeout`, or its answer cannot
                be used.
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
            AuthenticationError, UnknownContractError, RefusedError, ServiceError: as for ``next``.
        """
        receiver = self._receiver
        deadline = None if timeout is None else time.monotonic() + timeout
        while (message := receiver.inbox.take()) is None:
            if receiver.ended:
                if receiver.failure is not None:
                    raise receiver.failure
                return None
            # Another thread may take each message that arrives: the limit is for all waits.
            left = None if deadline is None else deadline - time.monotonic()
            with self._arrived:
                if (left is not None and left <= 0) or not self._arrived.wait_for(
                    self._is_new, left
                ):
                    raise TimeoutError(f"no message within {timeout} s")
        if receiver.full:
            self._portal.soon(receiver.made_room)
        return message

    def _is_new(self) -> bool:
        return bool(self._receiver.inbox) or self._receiver.ended

    def add(
        self,
        contract_names: Iterable[str] = (),
        contract_ids: Ids = (),
        *,
        snapshot: bool | None = None,
    ) -> Selected:
        """Add contracts to the stream, and wait until the gateway confirms it.

        Without a connection, the call waits until there is one.

        Args:
            contract_names: contracts by name.
            contract_ids: contracts by id.
            snapshot: whether to send their present states at once; None as for the stream.

        Returns:
            All contracts of the stream.

        Raises:
            UnknownContractError: some contracts do not exist; the text names them. The others
                are added.
            RefusedError: the token does not cover some contracts. The others are added.
            ControlError: the gateway refused the whole command.
            SettingsError: an argument cannot be a name or an id.
            ServiceError: the gateway did not answer, or the stream has ended.
        """
        keys = keys_of(contract_names, contract_ids)
        self._portal.run(self._receiver.change(Action.SUBSCRIBE, keys, snapshot))
        return self.contracts

    def remove(self, contract_names: Iterable[str] = (), contract_ids: Ids = ()) -> Selected:
        """Remove contracts from the stream, and wait as `add` does.

        Their messages in the queue are dropped.

        Args:
            contract_names: contracts by name.
            contract_ids: contracts by id.

        Returns:
            The remaining contracts of the stream.

        Raises:
            UnknownContractError, RefusedError, ControlError, SettingsError, ServiceError: as `add`.
        """
        keys = keys_of(contract_names, contract_ids)
        self._portal.run(self._receiver.change(Action.UNSUBSCRIBE, keys, None))
        return self.contracts

    def close(self) -> None:
        """Close the connection and end the thread. Messages in the queue can still be read.

        An `add` or `remove` that waits in another thread raises `ServiceError`.
        """
        self._portal.close()
        self._receiver.end()


class Client:
    """Makes the service's REST calls, for programs without async.

    ::

        with ime_live.Client("https://example.org", token="…") as client:
            state = client.snapshot(["ContractA"])["ContractA"]

    A call that fails because the service is away or busy is repeated, as by `AsyncClient`. Several
    threads may use one client. ``with`` or `close` ends its thread and its connections.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: Token = None,
        ssl: tls.SSLContext | None = None,
        proxy: Proxy = True,
        connect_timeout: float = 3.0,
        read_timeout: float = 10.0,
        tries: int = 3,
    ) -> None:
        """Create a client. It connects on the first call.

        Args:
            url: address of the service, as ``https://example.org``; None reads ``IME_LIVE_URL``
                from the environment.
            token: a JWT, or a function that returns one. None reads ``IME_LIVE_TOKEN`` from the
                environment, and sends no token if that is not set.
            ssl: TLS settings for ``https``; None trusts the system's certificates.
            proxy: URL of a proxy; True reads it from the environment, None uses none.
            connect_timeout: seconds for connecting.
            read_timeout: seconds for the whole answer.
            tries: how many times a call is made at most.

        Raises:
            SettingsError: an argument cannot be used; the text names it.
        """
        self._client = AsyncClient(
            url,
            token=token,
            ssl=ssl,
            proxy=proxy,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            tries=tries,
        )
        self._portal = Portal("the client was closed")

    def __repr__(self) -> str:
        return f"<Blocking{repr(self._client)[1:]}"

    @overload
    def snapshot(
        self, contract_names: Iterable[str] = (), contract_ids: Ids = ()
    ) -> dict[str, Payload | None]: ...

    @overload
    def snapshot(
        self,
        contract_names: Iterable[str] = (),
        contract_ids: Ids = (),
        *,
        section: type[SectionT],
    ) -> dict[str, SectionT | None]: ...

    def snapshot(
        self,
        contract_names: Iterable[str] = (),
        contract_ids: Ids = (),
        *,
        section: type[Any] = Payload,
    ) -> dict[str, Any]:
        """Return the present states of contracts.

        Args:
            contract_names: contracts by name.
            contract_ids: contracts by id.
            section: `Payload` for the whole state, or one of `BestLimit`, `Aggregate`,
                `AllowedPriceRange` and `ContractInfo`.

        Returns:
            The states by the names and ids that were given; None for a contract that is unknown or
            has no state yet.

        Raises:
            AuthenticationError: the token is missing or not accepted.
            ServiceError: the service cannot be reached, refuses the call, or its answer cannot be
                used; or the client was closed.
            SettingsError: an argument cannot be a name, an id or a section.
        """
        call = self._client.snapshot(contract_names, contract_ids, section=section)
        return self._portal.run(call)

    def overview(
        self, contract_names: Iterable[str] = (), contract_ids: Ids = ()
    ) -> dict[str, Overview | None]:
        """Return the static fields and present states of contracts.

        The service does not send their market in this call, so it is None. `search` sets it.

        Args:
            contract_names: contracts by name.
            contract_ids: contracts by id.

        Returns:
            The contracts by the names and ids that were given; None for an unknown one.

        Raises:
            AuthenticationError, ServiceError, SettingsError: as `snapshot`.
        """
        return self._portal.run(self._client.overview(contract_names, contract_ids))

    def contracts(
        self, contract_names: Iterable[str] = (), contract_ids: Ids = ()
    ) -> list[Contract | None]:
        """Return the static fields of contracts.

        The service does not send their market in this call, so it is None. `search` sets it.

        Args:
            contract_names: contracts by name.
            contract_ids: contracts by id.

        Returns:
            The contracts by name, then those by id, in the given order; None for an unknown one.

        Raises:
            AuthenticationError, ServiceError, SettingsError: as `snapshot`.
        """
        return self._portal.run(self._client.contracts(contract_names, contract_ids))

    def search(self, market: Market | str, text: str) -> list[Contract]:
        """Return the contracts of a market whose name or title contains a text.

        Args:
            market: the market.
            text: part of a name or a title.

        Raises:
            AuthenticationError, ServiceError: as `snapshot`.
            SettingsError: there is no such market.
        """
        return self._portal.run(self._client.search(market, text))

    def close(self) -> None:
        """End the thread and close the connections.

        Calls in other threads, and later ones, raise `ServiceError`.
        """
        self._portal.close()
        self._client._connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
