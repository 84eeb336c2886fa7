"""`connect`: start a stream, in async and in blocking programs.

It returns an object that is both an async and a plain context manager. The connection starts when
it is entered.
"""

from __future__ import annotations

import ssl as tls
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypeAlias, overload

from ime_live.client.network.credentials import Token
from ime_live.client.network.proxy import Proxy, check_proxy
from ime_live.client.options import (
    OnConnection,
    SectionName,
    SectionType,
    StreamOptions,
    check_callback,
    check_ssl,
    credentials_of,
    read_queue,
    read_sections,
    read_since,
    read_zone,
    service_of,
)
from ime_live.client.protocol.message import DataT, Message
from ime_live.client.selectors import Ids, Markets, Underlying, selectors_of
from ime_live.client.stream.blocking import BlockingStream
from ime_live.client.stream.stream import Stream
from ime_live.market import Payload, PayloadSections
from ime_live.timezones import TEHRAN

QueueName: TypeAlias = Literal["latest", "drop_oldest", "block"]
"""Policies for messages that the program does not read in time; see `connect`."""


class Connecting(Generic[DataT]):
    """A stream that has not started; `connect` returns it.

    ``async with`` starts it and gives a `Stream`, ``with`` a `BlockingStream`. It can also be
    awaited, and read by ``async for`` or ``for``. It can be entered once.

    Raises:
        RuntimeError: it was entered before.
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
            raise RuntimeError("a stream cannot be entered twice; call connect() again")

    async def __aenter__(self) -> Stream[DataT]:
        self._check()
        self._stream = Stream(self._options, self._data)
        return self._stream

    async def __aexit__(self, *_: object) -> None:
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

    if not TYPE_CHECKING:  # a type checker reports it without this

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

    def __exit__(self, *_: object) -> None:
        if self._blocking is not None:
            self._blocking.close()


@overload
def connect(
    url: str | None = None,
    contract_names: Iterable[str] = (),
    contract_ids: Ids = (),
    *,
    markets: Markets = (),
    underlying: Underlying = None,
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
    markets: Markets = (),
    underlying: Underlying = None,
    token: Token = None,
    queue: QueueName = "latest",
    queue_size: int = 10_000,
    snapshot: bool = True,
    since: datetime | str | None = None,
    max_rate: float | None = None,
    sections: Iterable[SectionName | SectionType],
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
) -> Connecting[PayloadSections]: ...


def connect(
    url: str | None = None,
    contract_names: Iterable[str] = (),
    contract_ids: Ids = (),
    *,
    markets: Markets = (),
    underlying: Underlying = None,
    token: Token = None,
    queue: QueueName = "latest",
    queue_size: int = 10_000,
    snapshot: bool = True,
    since: datetime | str | None = None,
    max_rate: float | None = None,
    sections: Iterable[SectionName | SectionType] | None = None,
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
    """Stream market data of contracts.

    In an async program::

        async with ime_live.connect("wss://example.org", ["ContractA"], token="…") as stream:
            async for message in stream:
                print(message.contract_name, message.data.aggregate.last_price)

    In a program without async::

        with ime_live.connect("wss://example.org", contract_ids=[12345], token="…") as stream:
            for message in stream:
                print(message.contract_id, message.data.best_limit.first.buy_price)

    The short forms are ``async for message in connect(…)`` and ``for message in connect(…)``. After
    ``stream = await connect(…)`` the program ends the stream with ``await stream.aclose()``.

    The library connects in the background, and reconnects after every break without losing a
    state.

    Args:
        url: address of the service, as ``wss://example.org``, with the path prefix of a proxy if
            there is one. None reads ``IME_LIVE_URL`` from the environment.
        contract_names: contracts by name. A name with a ``*`` is a pattern: ``GC*``.
        contract_ids: contracts by id. A stream may have both.
        markets: all contracts of these markets, including those that are listed later.
        underlying: all contracts of an underlying, by its name or id, or of several. Together with
            `markets` or patterns, only contracts that match both are streamed.
        token: a JWT, or a function, plain or async, that returns one. The function is called again
            when the token is refused. The token is sent in the header ``Authorization``. None reads
            ``IME_LIVE_TOKEN`` from the environment, and sends no token if that is not set.
        queue: policy for messages that the program does not read in time. ``latest`` keeps the
            newest message per contract, ``drop_oldest`` drops the oldest beyond `queue_size`, and
            ``block`` stops receiving until there is room.
        queue_size: maximum number of messages that ``drop_oldest`` and ``block`` hold.
        snapshot: whether to send the present state of each contract at once.
        since: send only states newer than this at the start: the ``timestamp`` of the last message
            of an earlier run. None follows `snapshot`.
        max_rate: maximum number of messages per second and contract; only the newest state is
            sent. None sends every change.
        sections: send only these sections of ``data``, by name or class, and only when they
            change. None sends all of them.
        skipped: whether the gateway counts the states that it leaves out, in ``message.skipped``.
        status: whether to send the state of the feed, for ``stream.status``.
        zone: time zone of the gateway's timestamps, by name or as a ``tzinfo``.
        compression: whether to offer permessage-deflate.
        ssl: TLS settings for ``wss``. None trusts the system's certificates, or those in the file
            that ``SSL_CERT_FILE`` names.
        proxy: URL of a proxy. True reads it from the environment, None connects directly.
        open_timeout: seconds for connecting and the handshake, and for an answer to `Stream.add`.
        ping_interval: seconds between two pings.
        ping_timeout: seconds to wait for the answer to a ping before the client reconnects.
        stale_after: seconds without any message after which the client reconnects. None relies on
            the pings. With ``status=True`` there is a message every 15 s.
        max_reconnect_delay: maximum wait in seconds between two attempts. Waits are random and
            grow.
        first_timeout: seconds within which the first connection must be made; then `ServiceError`
            is raised where the program reads. None keeps trying.
        on_connection: function that is called with a `ConnectionEvent` each time a connection is
            made or lost, or cannot be made. It is called in the event loop, or in the library's
            thread in a program without async, and must not block. Its exceptions end the stream.
            None calls nothing.

    Returns:
        A stream that has not started; see `Connecting`.

    Raises:
        SettingsError: an argument cannot be used; the text names it. It is raised at once. All
            others are raised where the program reads the stream, after the messages that were
            received before.
        AuthenticationError: the token is missing or not accepted, even after it was renewed.
        UnknownContractError: a contract is unknown, or was removed from the service; the text names
            it.
        RefusedError: the gateway refuses to serve this client; ``code`` and ``reason`` say why.
        ServiceError: there was no connection within `first_timeout`, the address or the proxy is
            wrong, or the service's answer cannot be used.
        PayloadError: by ``message.data``: the data is incomplete or has wrong types.
        TimeoutError: by `BlockingStream.receive`: no message arrived in time.
        RuntimeError: the returned object was entered twice.
        ImportError: a SOCKS proxy needs the package python-socks.
        Exception: the token function or `on_connection` raised it.
    """
    service, gateway_zone = service_of(url), read_zone(zone)
    options = StreamOptions(
        service=service,
        keys=selectors_of(contract_names, contract_ids, markets, underlying),
        credentials=credentials_of(token),
        queue=read_queue(queue),
        queue_size=queue_size,
        snapshot=snapshot,
        since=read_since(since, gateway_zone),
        max_rate=max_rate,
        sections=read_sections(sections),
        skipped=skipped,
        status=status,
        zone=gateway_zone,
        compression=compression,
        ssl=check_ssl(ssl, service),
        proxy=check_proxy(proxy),
        open_timeout=open_timeout,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        stale_after=stale_after,
        max_reconnect_delay=max_reconnect_delay,
        first_timeout=first_timeout,
        on_connection=check_callback(on_connection),
    )
    return Connecting(options, Payload if sections is None else PayloadSections)
