"""Topology: the addresses of the servers, and which of them to connect to.

`Topology` is the interface that `Connections` uses. A single server is in this module, a master
under Sentinel and a cluster are in the modules beside it. Their errors are those of redis-py.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from ime_live.log_limiter import LogLimiter
from ime_live.store.network.connection_pool import Pool
from ime_live.store.network.faults import WrongServersError, final_fault

_limited: Final = LogLimiter(structlog.get_logger())

LOOK: Final = 0.5
"""Seconds between two checks for a failover, so that it is followed within a second. Sentinel and
cluster themselves take longer to agree on one."""

HEAD_START: Final = 0.2
"""Seconds to wait for a server's answer before the next one is asked as well."""

Address = tuple[str, int]
"""Host and port."""

_T = TypeVar("_T")


Command = tuple[Any, ...]
"""A command of Redis: its name, and its arguments of type str, bytes, int or float."""


class RedisClient(Protocol):
    """Interface to the commands of Redis, whichever server runs them."""

    async def ping(self) -> None:
        """Wait until Redis has answered, in a cluster every primary."""

    async def script_load(self, text: bytes) -> None:
        """Load a script, in a cluster on every primary that can be reached."""

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip; return the replies, in order.

        Each needs a key, by which a cluster finds its server. A command's error is its reply.

        Raises:
            RedisError: no server can be reached.
        """


class Topology(RedisClient, Protocol):
    """Interface of all kinds of topologies."""

    place: str
    failovers: int
    """See `ime_live.store.network.connections.Connections.failovers`."""
    one_clock: bool
    """See `ime_live.store.network.connections.Connections.one_clock`."""

    @property
    def addresses(self) -> Sequence[Address]:
        """Addresses of the known servers; empty for a Unix socket."""

    async def check(self) -> None:
        """Raise an error of redis-py if the servers are not of this kind, or cannot be reached."""

    def make(self) -> Any:  # noqa: ANN401 - redis-py's are loosely typed, here and below
        """Return a connection outside all pools, for a subscriber; not connected yet."""

    def abort_idle(self) -> None:
        """Break the idle connections."""

    async def view(self, connection: Any) -> Any:  # noqa: ANN401
        """Return the view that must not change while ``connection`` listens; None if it cannot."""

    async def changed(self, connection: Any, view: Any) -> str:  # noqa: ANN401
        """Wait until the view has changed, and return the reason."""

    async def aclose(self) -> None:
        """Close all clients."""


def text_of(address: Address) -> str:
    """Format host and port for messages."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def pipelined(client: Any, commands: Sequence[Command]) -> list[Any]:  # noqa: ANN401
    """Run commands with a client of redis-py in one round trip; a command's error is its reply."""
    pipe = _Pipeline(client.connection_pool, client.response_callbacks, False, None)
    async with pipe:
        pipe.command_stack = [(command, {}) for command in commands]
        replies: list[Any] = await pipe.execute(raise_on_error=False)
        return replies


class _Pipeline(Pipeline):
    """redis-py's pipeline, without its work for command options that are not used here.

    That took most of the CPU of a command. It needs one private name of redis-py.
    """

    async def _execute_pipeline(
        self,
        connection: Any,  # noqa: ANN401 - as redis-py has it
        commands: Sequence[tuple[Command, Mapping[str, object]]],
        raise_on_error: bool,  # an error is always a reply
    ) -> list[Any]:
        del raise_on_error
        packed = [part for args, _ in commands for part in connection.pack_command(*args)]
        await connection.send_packed_command(b"".join(packed))
        replies: list[Any] = []
        for args, _ in commands:
            try:
                reply = await connection.read_response()
            except ResponseError as error:
                reply = error
            else:
                callback = self.response_callbacks.get(args[0])
                if callback is not None:
                    reply = callback(reply)
            replies.append(reply)
        return replies


def asked(ask: Callable[[], Awaitable[_T]]) -> asyncio.Future[_T]:
    """Ask a server in a task of its own, whose exception may be ignored."""
    task = asyncio.ensure_future(ask())
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
    return task


async def first_answer(asks: Iterable[Callable[[], Awaitable[_T]]]) -> _T:
    """Ask servers one after the other, and return the first answer.

    After `HEAD_START` seconds without an answer the next server is asked as well, so that a server
    that hangs delays little.

    Raises:
        RedisError: no server has answered. It is the last failure, or a permanent one.
    """
    error: BaseException = RedisConnectionError("there is no server to ask")
    pending: set[asyncio.Future[_T]] = set()
    left = iter(asks)
    more = True
    try:
        while True:
            if more:
                ask = next(left, None)
                more = ask is not None
                if ask is not None:
                    pending.add(asked(ask))
            if not pending:
                raise error
            done, pending = await asyncio.wait(
                pending,
                timeout=HEAD_START if more else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                failure = task.exception()
                if failure is None:
                    return task.result()
                if final_fault(error) is None:
                    error = failure
    finally:
        for task in pending:
            task.cancel()


class FailoverWatcher:
    """Checks every `LOOK` seconds for a failover, from its first use on."""

    def __init__(self, look: Callable[[], Awaitable[object]]) -> None:
        """Create a watcher that calls ``look`` each time; it may raise RedisError."""
        self._look = look
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start to check, unless it has started; it needs a running event loop."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK)
            try:
                await self._look()
            except RedisError:
                continue  # no change is known
            except Exception as error:  # noqa: BLE001 - one look that fails is not the last one
                _limited.error(
                    "cannot check which server is the master", key=repr(error), exc_info=error
                )

    async def aclose(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})


class Single:
    """One server, or a service behind one address."""

    failovers = 0  # a failover behind one address cannot be seen
    one_clock = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Create a topology from redis-py's options of a connection."""
        path = options.get("path")
        self.addresses: Sequence[Address] = [] if path else [(options["host"], options["port"])]
        self.place: str = path or text_of(self.addresses[0])
        self._use(Pool(**options))

    def _use(self, pool: Pool) -> None:
        self._pool = pool
        self._client: Any = Redis.from_pool(pool)

    async def ping(self) -> None:
        """See `RedisClient`."""
        await self._client.ping()

    async def script_load(self, text: bytes) -> None:
        """See `RedisClient`."""
        await self._client.script_load(text)

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """See `RedisClient`."""
        return await pipelined(self._client, commands)

    async def check(self) -> None:
        """See `Topology`; it must not be a Sentinel, or a node of a cluster with others."""
        try:
            server = await self._client.info("server")
            mode = server.get("redis_mode") or server.get("server_mode")
            if mode == "cluster":
                cluster = await self._client.execute_command("CLUSTER", "INFO")
                found = re.search(rb"cluster_size:(\d+)", cluster)
        except NoPermissionError:
            return
        if mode == "sentinel":
            raise WrongServersError(
                "is a Sentinel; --redis-url must be redis+sentinel://host:port/master then"
            )
        if mode == "cluster" and found and int(found[1]) > 1:
            raise WrongServersError(
                "is a node of a cluster; begin --redis-url with redis+cluster:// and name no "
                "database"
            )

    def make(self) -> Any:  # noqa: ANN401
        """See `Topology`."""
        return self._pool.make_connection()

    def abort_idle(self) -> None:
        """See `Topology`."""
        self._pool.abort_idle()

    async def view(self, connection: Any) -> Any:  # noqa: ANN401
        """Return None: if the server goes, the connection breaks; see `Topology`."""
        return None

    async def changed(self, connection: Any, view: Any) -> str:  # noqa: ANN401
        """See `Topology`."""
        await asyncio.Event().wait()
        return ""

    async def aclose(self) -> None:
        """See `Topology`."""
        await self._pool.aclose()
