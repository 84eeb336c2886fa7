"""Topology: one server, or servers under Sentinel; which of them to talk to.

redis-py's options come in; its clients and connections go out, and word that a connection no
longer leads to where the messages are. It must not know keys, scripts or what they are for, and
its errors are redis-py's: `ime_live.connections` makes ours of them. A cluster is the matter of
`ime_live.cluster`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, SentinelConnectionPool
from redis.asyncio.sentinel import Sentinel as SentinelClient
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError

LOOK: Final = 1.0
"""Seconds between two looks at whether the messages still come where we listen. Sentinel and
cluster themselves take longer than that to agree on a failover."""

Address = tuple[str, int]
"""Host and port."""


class Topology(Protocol):
    """What `ime_live.connections` needs of each kind."""

    place: str

    def client(self) -> Any:  # noqa: ANN401 - redis-py's clients are loosely typed, here and below
        """A client with redis-py's methods."""

    def make(self) -> Any:  # noqa: ANN401
        """One connection outside all pools, to listen with; not connected yet."""

    def transaction(self, key: str) -> AbstractAsyncContextManager[Any]:
        """A pipeline of redis-py that watches ``key``."""

    async def view(self, connection: Any) -> Any:  # noqa: ANN401
        """What must stay as it is while ``connection`` listens; None if nothing can change."""

    async def changed(self, connection: Any, view: Any) -> str:  # noqa: ANN401
        """Wait until that is no longer so; the reason."""

    async def aclose(self) -> None:
        """Close all clients."""


def text_of(address: Address) -> str:
    """Host and port, for texts."""
    return "{}:{}".format(*address)


def retry_once() -> Retry:
    """One attempt more, at once, for a pooled connection that Redis has closed meanwhile.

    Safe: to publish the same state twice changes nothing.
    """
    return Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))


class Single:
    """One server, or a service behind one address."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Take redis-py's options of a connection."""
        self.place: str = options.get("path") or text_of((options["host"], options["port"]))
        self._use(BlockingConnectionPool(**options))

    def _use(self, pool: Any) -> None:  # noqa: ANN401
        self._pool = pool
        self._client: Any = Redis.from_pool(pool)

    def client(self) -> Any:  # noqa: ANN401
        """See `Topology`."""
        return self._client

    def make(self) -> Any:  # noqa: ANN401
        """See `Topology`."""
        return self._pool.make_connection()

    @asynccontextmanager
    async def transaction(self, key: str) -> AsyncIterator[Any]:
        """See `Topology`."""
        async with self._client.pipeline(transaction=True) as pipe:
            await pipe.watch(key)
            yield pipe

    async def view(self, connection: Any) -> Any:  # noqa: ANN401
        """See `Topology`: the connection breaks when the server goes, and that is all."""
        return None

    async def changed(self, connection: Any, view: Any) -> str:  # noqa: ANN401
        """See `Topology`."""
        await asyncio.Event().wait()
        return ""

    async def aclose(self) -> None:
        """See `Topology`."""
        await self._client.aclose()


class _MasterPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the master that Sentinel names now; who finds none free waits for one."""

    async def get_master_address(self) -> Address:
        """The master's address. If it is a new one, no connection that is idle is used again."""
        try:
            host, port = await super().get_master_address()  # type: ignore[no-untyped-call]
        except MasterNotFoundError:
            # Without the cause: its text holds the options of the connections to Sentinel.
            raise RedisConnectionError(
                f"no Sentinel answers that names a master {self.service_name}"
            ) from None
        return host, port


class _ToMaster:
    """A connection that asks Sentinel each time it connects.

    That of redis-py (6 to 8) does not when a command finds it broken: it goes back to where it
    was, which is the server that has just refused.
    """

    def __init__(self, *, connection_pool: _MasterPool, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self._pool = connection_pool

    async def _connect(self) -> None:
        self.host, self.port = await self._pool.get_master_address()
        await super()._connect()  # type: ignore[misc]

    async def read_response(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """A reply; what says that the master has become a replica breaks the connection."""
        try:
            return await super().read_response(*args, **options)  # type: ignore[misc]
        except ReadOnlyError:
            await self.disconnect()  # type: ignore[attr-defined]
            raise RedisConnectionError("the master has become a replica") from None


class _MasterConnection(_ToMaster, Connection):
    pass


class _MasterSSLConnection(_ToMaster, SSLConnection):
    pass


class Sentinels(Single):
    """A master and its replicas, watched over by Sentinel.

    Connections lead to the master. An error that says that it has become a replica counts as a
    broken connection, and the command is sent again to where Sentinel points now.
    """

    def __init__(self, hosts: Sequence[Address], service: str, options: dict[str, Any]) -> None:
        """Take the addresses of the Sentinels, the master's name, and redis-py's options."""
        login = {
            name: options.pop(f"sentinel_{name}")
            for name in ("username", "password")
            if f"sentinel_{name}" in options
        }
        tls = options.pop("connection_class", None) is SSLConnection
        names = ("socket_timeout", "socket_connect_timeout", "protocol", "decode_responses")
        same = {n: v for n, v in options.items() if n.startswith("ssl_") or n in names}
        same |= {"ssl": tls, "retry": retry_once()}
        self._sentinel: Any = SentinelClient(  # type: ignore[no-untyped-call]
            hosts, sentinel_kwargs=same | login
        )
        self._use(
            _MasterPool(  # type: ignore[no-untyped-call]
                service,
                self._sentinel,
                **options,
                connection_class=_MasterSSLConnection if tls else _MasterConnection,
            )
        )
        self.place = f"{','.join(map(text_of, hosts))} ({service})"

    async def view(self, connection: Any) -> Any:  # noqa: ANN401
        """The master's address."""
        return await self._pool.get_master_address()

    async def changed(self, connection: Any, view: Any) -> str:  # noqa: ANN401
        """Return when Sentinel names another master. The old one may be there and only hang."""
        while True:
            await asyncio.sleep(LOOK)
            try:
                if await self.view(connection) != view:
                    return "another server has become the master"
            except RedisError:
                continue  # without Sentinel the master is still there

    async def aclose(self) -> None:
        """See `Topology`."""
        await super().aclose()
        for client in self._sentinel.sentinels:
            await client.aclose()
