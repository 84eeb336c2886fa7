"""Connecting: `connect`, which a program begins with, for async and plain programs alike.

Arguments come in; an object that is both an async and a plain context manager goes out. Nothing is
connected before one of the two is entered.
"""

from __future__ import annotations

import ssl as tls
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from datetime import datetime, tzinfo
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypeAlias, overload

from ime_live.client.blocking import BlockingStream
from ime_live.client.credentials import Token
from ime_live.client.message import DataT, Message
from ime_live.client.options import Ids, OnConnection, StreamOptions, read_options
from ime_live.client.proxy import Proxy
from ime_live.client.stream import Stream
from ime_live.market import Part, Payload
from ime_live.timezones import TEHRAN

QueueName: TypeAlias = Literal["latest", "drop_oldest", "block"]
"""What happens to messages that are not taken in time."""

SectionName: TypeAlias = Literal["BestLimit", "Aggregate", "AllowedPriceRange", "ContractInfo"]
"""A part of a contract's state, as it is called on the wire."""


class Connecting(Generic[DataT]):
    """A stream that is not running yet: ``async with`` it, or ``with`` it.

    It can also be awaited, and read by ``async for`` or ``for``.
    """

    def __init__(self, options: StreamOptions, data: type[DataT]) -> None:
        self._options = options
        self._data = data
        self._stream: Stream[DataT] | None = None
        self._blocking: BlockingStream[DataT] | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._options.service.place}>"

    def _check(self) -> None:
        if self._stream is not None or self._blocking is not None:
            raise RuntimeError("this stream has been entered already; call connect() again")

    async def __aenter__(self) -> Stream[DataT]:
        self._check()
        self._stream = Stream(self._options, self._data)
        return self._stream

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            await self._stream.aclose()

    def __await__(self) -> Generator[Any, None, Stream[DataT]]:
        return self.__aenter__().__await__()

    async def __aiter__(self) -> AsyncIterator[Message[DataT]]:
        async with self as stream:
            async for message in stream:
                yield message

    def __iter__(self) -> Iterator[Message[DataT]]:
        with self as stream:
            yield from stream

    if not TYPE_CHECKING:  # a type checker finds it by itself

        def __getattr__(self, name: str) -> NoReturn:
            hint = ""
            if hasattr(Stream, name) or hasattr(BlockingStream, name):
                hint = (
                    "; it runs inside `async with connect(…) as stream:`, or `with` without async"
                )
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")

    def __enter__(self) -> BlockingStream[DataT]:
        self._check()
        self._blocking = BlockingStream(self._options, self._data)
        return self._blocking

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._blocking is not None:
            self._blocking.close()


@overload
def connect(
    url: str | None = None,
    contract_names: Iterable[str] = (),
    contract_ids: Ids = (),
    *,
    token: Token = None,
    queue: QueueName = "latest",
    queue_size: int = 10_000,
    snapshot: bool = True,
    since: datetime | str | None = None,
    max_rate: float | None = None,
    sections: None = None,
    skipped: bool = False,
    status: bool = False,
    zone: str | tzinfo = TEHRAN,
    compression: bool = True,
    ssl: tls.SSLContext | None = None,
    proxy: Proxy = True,
    open_timeout: float = 10.0,
    ping_interval: float = 20.0,
    ping_timeout: float = 20.0,
    stale_after: float | None = None,
    max_reconnect_delay: float = 30.0,
    first_timeout: float | None = None,
    on_connection: OnConnection | None = None,
) -> Connecting[Payload]: ...


@overload
def connect(
    url: str | None = None,
    contract_names: Iterable[str] = (),
    contract_ids: Ids = (),
    *,
    token: Token = None,
    queue: QueueName = "latest",
    queue_size: int = 10_000,
    snapshot: bool = True,
    since: datetime | str | None = None,
    max_rate: float | None = None,
    sections: Iterable[SectionName],
    skipped: bool = False,
    status: bool = False,
    zone: str | tzinfo = TEHRAN,
    compression: bool = True,
    ssl: tls.SSLContext | None = None,
    proxy: Proxy = True,
    open_timeout: float = 10.0,
    ping_interval: float = 20.0,
    ping_timeout: float = 20.0,
    stale_after: float | None = None,
    max_reconnect_delay: float = 30.0,
    first_timeout: float | None = None,
    on_connection: OnConnection | None = None,
) -> Connecting[Part]: ...


def connect(
    url: str | None = None,
    contract_names: Iterable[str] = (),
    contract_ids: Ids = (),
    *,
    token: Token = None,
    queue: QueueName = "latest",
    queue_size: int = 10_000,
    snapshot: bool = True,
    since: datetime | str | None = None,
    max_rate: float | None = None,
    sections: Iterable[SectionName] | None = None,
    skipped: bool = False,
    status: bool = False,
    zone: str | tzinfo = TEHRAN,
    compression: bool = True,
    ssl: tls.SSLContext | None = None,
    proxy: Proxy = True,
    open_timeout: float = 10.0,
    ping_interval: float = 20.0,
    ping_timeout: float = 20.0,
    stale_after: float | None = None,
    max_reconnect_delay: float = 30.0,
    first_timeout: float | None = None,
    on_connection: OnConnection | None = None,
) -> Connecting[Any]:
    """Stream contracts: ``async with connect(…) as stream`` or ``with connect(…) as stream``.

    In short, ``async for message in connect(…)`` or ``for message in connect(…)``. With ``stream =
    await connect(…)`` the program ends the stream by ``await stream.aclose()``.

    The connection is made in the background and kept over every break. What must not be repeated
    is raised where the stream is read.

    Args:
        url: the service, as ``wss://example.org`` or with a proxy's path behind it; by default
            the environment's ``IME_LIVE_URL``.
        contract_names: contracts by name.
        contract_ids: contracts by id; both together are fine.
        token: a JWT, or a function, plain or async, that gets one. The function is asked again
            when the token is refused. It is sent as the header ``Authorization``. By default the
            environment's ``IME_LIVE_TOKEN``, or none.
        queue: what happens to messages that are not taken in time: ``latest`` keeps the newest of
            each contract, ``drop_oldest`` all of them up to `queue_size`, ``block`` as well, and
            then stops receiving until there is room.
        queue_size: messages that ``drop_oldest`` and ``block`` hold at the most.
        snapshot: send the present state of each contract at once.
        since: instead of that, only states that are newer: the ``timestamp`` of the last message
            of an earlier run.
        max_rate: messages a second and contract at the most; the newest wins.
        sections: only these parts of ``data``, and only when they change.
        skipped: have the gateway count what it leaves out, for ``message.skipped``.
        status: have the state of the feed sent as well, for ``stream.status``.
        zone: the zone of the gateway's time stamps, by name or as a ``tzinfo``.
        compression: offer permessage-deflate.
        ssl: for ``wss``; by default the system's certificates are trusted, or those in the file
            that ``SSL_CERT_FILE`` names.
        proxy: a proxy's URL; True takes it from the environment, None uses none.
        open_timeout: seconds for connecting and the handshake, and for an answer to `Stream.add`.
        ping_interval: seconds between two pings of the gateway.
        ping_timeout: seconds within which it answers one; otherwise the client reconnects.
        stale_after: seconds without any message after which the client reconnects; by default
            pings alone tell. With ``status=True`` there is a message every 15 s.
        max_reconnect_delay: the longest wait in seconds between two tries; waits are random and
            grow.
        first_timeout: seconds within which there must be a first connection; by default it is
            tried for ever. After that time `ServiceError` is raised where the stream is read.
        on_connection: a function that is called with a `ConnectionEvent` each time a connection
            was made or lost, or could not be made; in the event loop, or in the library's thread
            for a plain program. It must not wait. What it raises ends the stream.

    Raises:
        SettingsError: an argument cannot be what it should; the text names it.
    """
    options = read_options(
        url,
        contract_names,
        contract_ids,
        token=token,
        queue=queue,
        queue_size=queue_size,
        snapshot=snapshot,
        since=since,
        max_rate=max_rate,
        sections=sections,
        skipped=skipped,
        status=status,
        zone=zone,
        compression=compression,
        ssl=ssl,
        proxy=proxy,
        open_timeout=open_timeout,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        stale_after=stale_after,
        max_reconnect_delay=max_reconnect_delay,
        first_timeout=first_timeout,
        on_connection=on_connection,
    )
    return Connecting(options, Payload if sections is None else Part)
