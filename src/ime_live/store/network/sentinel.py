"""Redis Sentinel: find the master of a service, and follow its failovers.

Each connection asks the Sentinels for the master when it connects, and a watcher asks them twice a
second. When they name another server, the connections to the old master are broken, because it
still accepts writes, which are lost, until Sentinel makes it a replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import SSLConnection
from redis.exceptions import AuthenticationError, InvalidResponse, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from ime_live.store.network.connection_pool import (
    Pool,
    ReconnectMixin,
    TcpConnection,
    TlsConnection,
    retry_once,
)
from ime_live.store.network.faults import NO_REDIS, WrongServersError, final_fault, first_words
from ime_live.store.network.topology import Address, FailoverWatcher, Single, first_answer, text_of


class Sentinels(Single):
    """A master and its replicas under Sentinel.

    A command on a connection that was broken by a failover, or to a master that has become a
    replica, is sent again to the present master.
    """

    one_clock = False

    def __init__(
        self,
        hosts: Sequence[Address],
        service: str,
        options: Mapping[str, Any],
        login: Mapping[str, str],
    ) -> None:
        """Create a topology without connecting.

        Args:
            hosts: addresses of the Sentinels.
            service: Sentinel's name of the master.
            options: redis-py's options of connections to the master.
            login: user and password for the Sentinels.
        """
        self.addresses = hosts
        self.place = f"{','.join(map(text_of, hosts))} ({service})"
        self.failovers = 0
        options = dict(options)
        tls = options.pop("connection_class", None) is SSLConnection
        names = ("timeout", "socket_timeout", "socket_connect_timeout", "protocol")
        sentinel_options = {n: v for n, v in options.items() if n.startswith("ssl_") or n in names}
        if tls:
            sentinel_options["connection_class"] = TlsConnection
        sentinel_options |= {"retry": retry_once(), **login}
        self._service = service
        self._clients: list[Any] = [
            Redis.from_pool(Pool(host=host, port=port, **sentinel_options)) for host, port in hosts
        ]
        """Clients of the Sentinels; the first is the one that has answered last."""
        self._master: Address | None = None
        self._moved = asyncio.Event()
        self._watcher = FailoverWatcher(self.find)
        self._use(_MasterPool(self, tls=tls, **options))

    async def check(self) -> None:
        """See `Topology`."""
        await self.find()
        await super().check()

    async def find(self) -> Address:
        """Return the address of the present master.

        Raises:
            RedisError: no Sentinel names a master.
        """
        self._watcher.begin()
        try:
            client, master = await first_answer(partial(self._ask, c) for c in self._clients)
        except RedisError as error:
            # "from None", because the text of the cause may contain the password for Sentinel.
            text = f"no Sentinel answers that names a master {self._service}"
            if (fault := final_fault(error)) is not None:
                if isinstance(error, AuthenticationError):
                    fault += ", as sentinel_username and sentinel_password"
                raise WrongServersError(f"cannot be found: {text}: one {fault}") from None
            raise RedisConnectionError(text) from None
        self._clients.remove(client)
        self._clients.insert(0, client)
        if master != self._master:
            self._follow(master)
        return master

    async def _ask(self, client: Any) -> tuple[Any, Address]:  # noqa: ANN401
        """Return a client, and the master that its Sentinel names, even if that does not answer."""
        try:
            master = await client.execute_command(
                "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service
            )
        except InvalidResponse:
            raise WrongServersError(NO_REDIS) from None
        except ResponseError as error:
            if str(error).startswith("unknown command"):
                raise WrongServersError(f"is no Sentinel ({first_words(error)})") from None
            raise
        if master is None:
            raise WrongServersError("knows no master of that name")
        try:
            host, port = master
            return client, (host.decode(), int(port))
        except (TypeError, ValueError, AttributeError) as error:
            raise RedisConnectionError("it names no master") from error

    def _follow(self, master: Address) -> None:
        if self._master is not None:
            self.failovers += 1
        self._master = master
        # No connection leads to the new master yet, so all of them are broken.
        self._pool.abort()
        self._moved.set()
        self._moved = asyncio.Event()

    async def view(self, connection: Any) -> Any:  # noqa: ANN401
        """Return the address of the master."""
        return await self.find()

    async def changed(self, connection: Any, view: Any) -> str:  # noqa: ANN401
        """Wait until Sentinel names another master; the old one may still be connected."""
        while self._master == view:
            await self._moved.wait()
        return "another server has become the master"

    async def aclose(self) -> None:
        """See `Topology`."""
        await self._watcher.aclose()
        await super().aclose()
        for client in self._clients:
            await client.connection_pool.aclose()


class _MasterPool(Pool):
    """Connections to the master."""

    def __init__(self, sentinels: Sentinels, *, tls: bool, **options: Any) -> None:  # noqa: ANN401
        super().__init__(connection_class=_MasterTls if tls else _MasterTcp, **options)
        self._sentinels = sentinels

    def make_connection(self) -> Any:  # noqa: ANN401
        """Return a connection that asks Sentinel for the master each time it connects."""
        connection = super().make_connection()
        connection.find = self._sentinels.find
        return connection


class _ToMaster(ReconnectMixin):
    """A connection that asks Sentinel for the master each time it connects.

    The connection class of redis-py (6 to 8) does not do so when a command finds it broken: it
    reconnects to the old server.
    """

    find: Any

    async def _connect(self) -> None:
        self.host, self.port = await self.find()
        await super()._connect()


class _MasterTcp(_ToMaster, TcpConnection):
    pass


class _MasterTls(_ToMaster, TlsConnection):
    pass
