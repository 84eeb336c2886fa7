"""Topologies of Redis: their interface, and that of a single server.

`ime_live.store.network.sentinel` and `ime_live.store.network.cluster` have the others. Errors are
those of redis-py.
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

CHECK_INTERVAL: Final = 0.5
"""Time between two checks for a failover [s], so that it is noticed within a second. Sentinel and
Redis Cluster take longer to agree on one."""

HEAD_START: Final = 0.2
"""Time to wait for the answer of one server before the next one is asked as well [s]."""

Address = tuple[str, int]
"""Host and port."""

_T = TypeVar("_T")


Command = tuple[Any, ...]
"""A command of Redis: its name, and its arguments of type str, bytes, int or float."""


class RedisClient(Protocol):
    """Interface to the commands of Redis, on one or several servers."""

    async def ping(self) -> None:
        """Send a PING and wait for the answer, in a cluster to all primaries."""

    async def script_load(self, text: bytes) -> None:
        """Load a script, in a cluster on all primaries that can be reached."""

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip; return the replies, in order.

        Each command must have a key, which determines the server in a cluster. An error of a
        command is returned as its reply.

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
        """Return a new connection outside all pools, for Pub/Sub; not connected yet."""

    def abort_idle(self) -> None:
        """Break the idle connections."""

    async def view(self, connection: Any) -> Any:  # noqa: ANN401
        """Return the view of the servers, which must not change during a Pub/Sub connection."""

    async def changed(self, connection: Any, view: Any) -> str:  # noqa: ANN401
        """Wait until the view has changed, and return the reason."""

    async def aclose(self) -> None:
        """Close all clients."""


def text_of(address: Address) -> str:
    """Return host and port as text, for messages."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def pipelined(client: Any, commands: Sequence[Command]) -> list[Any]:  # noqa: ANN401
    """Run commands with a client of redis-py in one round trip; return replies and errors."""
    pipe = _Pipeline(client.connection_pool, client.response_callbacks, False, None)
    async with pipe:
        pipe.command_stack = [(command, {}) for command in commands]
        replies: list[Any] = await pipe.execute(raise_on_error=False)
        return replies


class _Pipeline(Pipeline):
    """Pipeline of redis-py without the handling of command options, which are not used here.

    This handling took most of the CPU time of a command. One private method is overridden.
    """

    async def _execute_pipeline(
        self,
        connection: Any,  # noqa: ANN401 - as redis-py has it
        commands: Sequence[tuple[Command, Mapping[str, object]]],
        raise_on_error: bool,  # always False here
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


def ask_in_task(ask: Callable[[], Awaitable[_T]]) -> asyncio.Future[_T]:
    """Call ``ask`` in a task of its own, whose exception may be ignored."""
    task = asyncio.ensure_future(ask())
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
    return task


async def first_answer(asks: Iterable[Callable[[], Awaitable[_T]]]) -> _T:
    """Ask servers one after the other, and return the first answer.

    After `HEAD_START` seconds without an answer, the next server is asked as well, so that a server
    that hangs causes only a short delay.

    Raises:
        RedisError: no server has answered. This is a permanent fault, or else the last error.
    """
    error: BaseException = RedisConnectionError("there is no server to ask")
    pending: set[asyncio.Future[_T]] = set()
    remaining = iter(asks)
    has_more = True
    try:
        while True:
            if has_more:
                ask = next(remaining, None)
                has_more = ask is not None
                if ask is not None:
                    pending.add(ask_in_task(ask))
            if not pending:
                raise error
            done, pending = await asyncio.wait(
                pending,
                timeout=HEAD_START if has_more else None,
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
    """Checks for a failover every `CHECK_INTERVAL` seconds, after `begin`."""

    def __init__(self, check: Callable[[], Awaitable[object]]) -> None:
        """Create a watcher.

        Args:
            check: called for each check; may raise RedisError.
        """
        self._check = check
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start the checks, unless they are started; call this in a running event loop."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            try:
                await self._check()
            except RedisError:
                continue  # no server has answered
            except Exception as error:  # noqa: BLE001 - the next check may succeed
                _limited.error(
                    "cannot check which server is the master", key=repr(error), exc_info=error
                )

    async def aclose(self) -> None:
        """Stop the checks."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})


class Single:
    """One server, or a service behind one address."""

    failovers = 0  # a failover behind one address is not visible
    one_clock = True

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Create a topology without connecting.

        Args:
            options: redis-py's options of connections.
        """
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
        """See `Topology`; the server must not be a Sentinel, or one of several cluster nodes."""
        try:
            server = await self._client.info("server")
            mode = server.get("redis_mode") or server.get("server_mode")
            if mode == "cluster":
                cluster = await self._client.execute_command("CLUSTER", "INFO")
                size = re.search(rb"cluster_size:(\d+)", cluster)
        except NoPermissionError:
            return
        if mode == "sentinel":
            raise WrongServersError(
                "is a Sentinel; --redis-url must be redis+sentinel://host:port/master then"
            )
        if mode == "cluster" and size and int(size[1]) > 1:
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
        """Return None, because the connection breaks if the server stops; see `Topology`."""
        return None

    async def changed(self, connection: Any, view: Any) -> str:  # noqa: ANN401
        """See `Topology`."""
        await asyncio.Event().wait()
        return ""

    async def aclose(self) -> None:
        """See `Topology`."""
        await self._pool.aclose()
