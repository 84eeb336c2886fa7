"""The plain twins of `Stream` and `AsyncClient`, for scripts and notebooks.

They do the same without ``async``: an event loop in a thread of its own receives while the program
computes. Only what differs is here.
"""

from __future__ import annotations

import ssl as tls
import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Generic, Self, overload

from ime_live.client.credentials import Token
from ime_live.client.inbox import inbox_of
from ime_live.client.message import DataT, Message, Reader, Status
from ime_live.client.options import Ids, StreamOptions, keys_of
from ime_live.client.portal import Portal
from ime_live.client.proxy import Proxy
from ime_live.client.receiver import Receiver
from ime_live.client.rest import AsyncClient, Overview, SectionT
from ime_live.client.selection import Selected
from ime_live.contracts import Contract, Market
from ime_live.market import Payload
from ime_live.messages import Action


class BlockingStream(Generic[DataT]):
    """A running stream for a plain program; ``with ime_live.connect(…) as stream`` makes one.

    Several threads may read it; each message goes to one of them.
    """

    def __init__(self, options: StreamOptions, data: type[DataT]) -> None:
        """Begin to receive."""
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
        """See `Stream.status`."""
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
        """See `Stream.contracts`."""
        return self._receiver.selection.contracts

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message[DataT]:
        """The next message; waits for it.

        Raises:
            StopIteration: the stream was closed.
            ImeLiveError: as `Stream.__anext__`.
        """
        message = self.receive()
        if message is None:
            raise StopIteration
        return message

    def receive(self, timeout: float | None = None) -> Message[DataT] | None:
        """The next message; None if the stream was closed.

        Args:
            timeout: seconds to wait for it at the most; by default for ever.

        Raises:
            TimeoutError: none has come in that time.
            ImeLiveError: as `Stream.__anext__`.
        """
        receiver = self._receiver
        deadline = None if timeout is None else time.monotonic() + timeout
        while (message := receiver.inbox.take()) is None:
            if receiver.ended:
                if receiver.failure is not None:
                    raise receiver.failure
                return None
            # Another thread may take what has come, time and again: the time is for all waits.
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
        """See `Stream.add`."""
        keys = keys_of(contract_names, contract_ids)
        self._portal.run(self._receiver.change(Action.SUBSCRIBE, keys, snapshot))
        return self.contracts

    def remove(self, contract_names: Iterable[str] = (), contract_ids: Ids = ()) -> Selected:
        """See `Stream.remove`."""
        keys = keys_of(contract_names, contract_ids)
        self._portal.run(self._receiver.change(Action.UNSUBSCRIBE, keys, None))
        return self.contracts

    def close(self) -> None:
        """End the connection and the thread. What is in the queue can still be read.

        An `add` or `remove` that waits for its answer in another thread fails.
        """
        self._portal.close()
        self._receiver.end()


class Client:
    """Makes the service's REST calls for a plain program; `close` it, or use ``with``."""

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
        """See `AsyncClient`."""
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
        """See `AsyncClient.snapshot`."""
        call = self._client.snapshot(contract_names, contract_ids, section=section)
        return self._portal.run(call)

    def overview(
        self, contract_names: Iterable[str] = (), contract_ids: Ids = ()
    ) -> dict[str, Overview | None]:
        """See `AsyncClient.overview`."""
        return self._portal.run(self._client.overview(contract_names, contract_ids))

    def contracts(
        self, contract_names: Iterable[str] = (), contract_ids: Ids = ()
    ) -> list[Contract | None]:
        """See `AsyncClient.contracts`."""
        return self._portal.run(self._client.contracts(contract_names, contract_ids))

    def search(self, market: Market | str, text: str) -> list[Contract]:
        """See `AsyncClient.search`."""
        return self._portal.run(self._client.search(market, text))

    def close(self) -> None:
        """End the thread and the connections. Calls of other threads fail with `ServiceError`."""
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
