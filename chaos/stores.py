"""Stores under test: a single Valkey, one under Sentinel, a cluster; real servers behind proxies.

A single server has a proxy for each process that uses it. Each of several servers has one proxy,
whose port it announces as its own.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from chaos.proxy import Proxy
from chaos.states import IDS
from chaos.timeline import Stored
from ime_live.settings import StoreSettings
from ime_live.store.keys import Keys
from tests.support.servers import MASTER, ClusterServers, SentinelServers, Server, free_port

_KEYS: Final = Keys(StoreSettings().key_prefix)
_TIMEOUT: Final = 0.5  # seconds for an answer

_decode = msgspec.json.Decoder().decode


class Store(ABC):
    """A store under test.

    Attributes:
        kind: its name on the command line.
        servers: the servers with data.
        proxies: in front of them.
    """

    kind: str

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        """Make a store that is not started.

        Args:
            folder: takes all files.
            stack: ends the servers and proxies.
        """
        self.servers: list[Server] = []
        self.proxies: list[Proxy] = []
        self._folder = folder
        self._stack = stack
        self._clients: dict[int, Any] = {}
        self._decoded: dict[str, tuple[object, Stored]] = {}

    @abstractmethod
    async def start(self) -> None:
        """Start the servers and proxies."""

    @abstractmethod
    async def url(self, process: str) -> str:
        """The URL by which a process uses it."""

    @abstractmethod
    async def primaries(self) -> list[Server]:
        """The servers that take writes now; none while that is not known."""

    @abstractmethod
    def settle(self) -> None:
        """Wait until all servers run and agree on their roles; raises AssertionError."""

    async def sample(self) -> Mapping[str, Stored | None]:
        """Read all last states past the proxies; those that no server answers for are missing."""
        servers = await self.primaries()
        answers = await asyncio.gather(*(self._states_at(server) for server in servers))
        found: dict[str, Stored | None] = {}
        for answer in answers:
            for contract_id, stored in answer.items():
                before = found.get(contract_id)
                # A deposed primary may answer as well for a moment.
                if before is None or (stored is not None and stored.version > before.version):
                    found[contract_id] = stored
        return found

    async def _states_at(self, server: Server) -> Mapping[str, Stored | None]:
        try:
            async with self._client(server).pipeline(transaction=False) as pipe:
                for contract_id in IDS:
                    pipe.execute_command(
                        "HMGET", _KEYS.last(contract_id), "version", "data", "history"
                    )
                replies = await pipe.execute(raise_on_error=False)
        except (RedisError, OSError):
            return {}
        return {
            contract_id: self._state_in(contract_id, reply)
            for contract_id, reply in zip(IDS, replies, strict=True)
            if not isinstance(reply, Exception)
        }

    def _state_in(self, contract_id: str, reply: Sequence[bytes | None]) -> Stored | None:
        version, data, history = reply
        if version is None or data is None:
            return None
        raw = (version, data, history)
        known = self._decoded.get(contract_id)
        if known is None or known[0] != raw:
            known = self._decoded[contract_id] = (
                raw,
                Stored(int(version), _decode(data), (history or b"").decode()),
            )
        return known[1]

    def _client(self, server: Server) -> Any:  # noqa: ANN401 - redis-py's are loosely typed
        client = self._clients.get(server.port)
        if client is None:
            client = self._clients[server.port] = Redis(
                port=server.port,
                protocol=2,
                socket_timeout=_TIMEOUT,
                socket_connect_timeout=_TIMEOUT,
                retry=Retry(NoBackoff(), 0),
            )
            self._stack.push_async_callback(client.aclose)
        return client

    async def lease_holder(self) -> str:
        """The holder of the feeds' lease; empty if there is none, or no answer."""
        for server in await self.primaries():
            try:
                holder = await self._client(server).get(_KEYS.feed)
            except (RedisError, OSError):
                continue
            if holder is not None:
                return str(holder.decode())
        return ""

    async def run(self, *command: str | int) -> None:
        """Run a command at every server that takes writes."""
        for server in await self.primaries():
            await asyncio.to_thread(server.client.execute_command, *command)

    async def _proxy(self, name: str, port: int) -> Proxy:
        proxy = await self._stack.enter_async_context(Proxy(name, lambda: port))
        self.proxies.append(proxy)
        return proxy

    async def _started(self, make: Callable[[], Any]) -> Any:  # noqa: ANN401 - servers of one kind
        """Start servers in a thread, since that blocks."""
        made = await asyncio.to_thread(make)
        self._stack.callback(made.__exit__, None, None, None)
        return made

    async def _ports(self, count: int) -> list[tuple[int, int]]:
        ports = [free_port() for _ in range(count)]
        return [
            (port, (await self._proxy(f"server {n}", port)).port) for n, port in enumerate(ports)
        ]


class SingleStore(Store):
    """A single server."""

    kind = "single"

    async def start(self) -> None:
        """See `Store`."""
        self.servers = [await self._started(lambda: Server(self._folder / "store", "--save", ""))]

    async def url(self, process: str) -> str:
        """See `Store`; each process has its own proxy."""
        for proxy in self.proxies:
            if proxy.name == process:
                break
        else:
            proxy = await self._proxy(process, self.servers[0].port)
        return f"redis://127.0.0.1:{proxy.port}"

    async def primaries(self) -> list[Server]:
        """See `Store`."""
        return self.servers

    def settle(self) -> None:
        """See `Store`; a single server has nothing to agree on."""


class SentinelStore(Store):
    """A master and two replicas under three Sentinels."""

    kind = "sentinel"

    async def start(self) -> None:
        """See `Store`."""
        ports = await self._ports(3)
        self.cluster: SentinelServers = await self._started(
            lambda: SentinelServers(self._folder, replicas=2, sentinels=3, ports=ports)
        )
        self.servers = self.cluster.servers[:3]

    async def url(self, process: str) -> str:
        """See `Store`."""
        return self.cluster.url

    async def primaries(self) -> list[Server]:
        """See `Store`; the master that Sentinel names."""
        for sentinel in self.cluster.sentinels:
            try:
                _, announced = await self._client(sentinel).execute_command(
                    "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER
                )
            except (RedisError, OSError):
                continue
            port = self.cluster.own_ports[int(announced)]
            return [server for server in self.servers if server.port == port]
        return []

    def settle(self) -> None:
        """See `Store`."""
        self.cluster.settle()


class ClusterStore(Store):
    """Three primaries, each with a replica."""

    kind = "cluster"

    async def start(self) -> None:
        """See `Store`."""
        ports = await self._ports(6)
        self.cluster: ClusterServers = await self._started(
            lambda: ClusterServers(self._folder, replicas=3, ports=ports)
        )
        self.servers = self.cluster.servers

    async def url(self, process: str) -> str:
        """See `Store`."""
        return self.cluster.url

    async def primaries(self) -> list[Server]:
        """See `Store`."""
        roles = await asyncio.gather(*(self._role(server) for server in self.servers))
        return [s for s, role in zip(self.servers, roles, strict=True) if role == b"master"]

    async def _role(self, server: Server) -> object:
        try:
            return (await self._client(server).execute_command("ROLE"))[0]
        except (RedisError, OSError):
            return None

    def settle(self) -> None:
        """See `Store`."""
        self.cluster.settle()


STORES: Final = {store.kind: store for store in (SingleStore, SentinelStore, ClusterStore)}
"""The kinds of store, by their names."""
