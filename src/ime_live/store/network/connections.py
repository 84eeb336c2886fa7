"""Connections to Redis or Valkey, and the conversion of redis-py's errors to `StoreError`.

`Connections` makes a client and single connections, for one server or several (see
`ime_live.store.network.topology`). Error messages never contain a password.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final

import hiredis
import structlog
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection
from redis.exceptions import AskError, InvalidResponse, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ime_live.errors import (
    ImeLiveError,
    SettingsError,
    StoreError,
    StoreSettingsError,
    system_reason,
)
from ime_live.log_limiter import LogLimiter
from ime_live.settings import StoreSettings
from ime_live.store.network.cluster import Cluster
from ime_live.store.network.connection_pool import retry_once
from ime_live.store.network.faults import NO_REDIS, chain, fault_of_port, final_fault
from ime_live.store.network.redis_url import Kind, RedisUrl, read_redis_url
from ime_live.store.network.sentinel import Sentinels
from ime_live.store.network.tls_options import tls_context
from ime_live.store.network.topology import RedisClient, Single, Topology

_limited: Final = LogLimiter(structlog.get_logger())

# More connections would not make a server faster; a command waits if all are in use.
_MAX_CONNECTIONS: Final = 16

# Without it, redis-py 8 reads its own version from the disk for each connection, which takes 1 ms.
_NAMELESS: Final = {"driver_info": None} if find_spec("redis.driver_info") else {}

_PROBE_AFTER: Final = 1.0
"""Time without an answer after which a check probes for another protocol [s]."""


class Connections:
    """Makes connections to the servers in the settings.

    Attributes:
        place: hosts and ports, or the path of the socket, for messages.
        timeout: time without an answer after which a connection is broken [s].
    """

    def __init__(self, settings: StoreSettings) -> None:
        """Read the settings without connecting.

        Raises:
            SettingsError: ``redis_url`` is not in one of the forms of docs/redis.md, or it names a
                database other than 0 while ``key_prefix`` is the default.
        """
        self.timeout = settings.redis_timeout
        url = read_redis_url(settings.redis_url)
        if url.database and settings.key_prefix == StoreSettings.key_prefix:
            # Two environments on two databases of one server would share all channels.
            raise SettingsError(
                f"--key-prefix must be different for database {url.database} of --redis-url, "
                f"because Pub/Sub ignores databases, got the default {settings.key_prefix!r}"
            )
        self._tls = url.tls
        self._topology = _topology_of(url, self.timeout)
        self.place = self._topology.place

    def client(self) -> RedisClient:
        """Return the client that runs commands, which is always the same; it raises RedisError."""
        return self._topology

    async def aclose(self) -> None:
        """Close the connections of `client`."""
        with self.errors():
            await self._topology.aclose()

    def make(self) -> Any:  # noqa: ANN401 - redis-py's are loosely typed, and not alike in 6 to 8
        """Return a new connection of redis-py outside the pool, not connected yet."""
        return self._topology.make()

    async def check(self, *, listens: bool) -> None:
        """Check once that the servers match the settings.

        Args:
            listens: whether Pub/Sub will be used, for which a cluster needs more permissions.

        Raises:
            StoreSettingsError: the servers do not match the settings.
            StoreError: the servers cannot be reached.
        """
        task = asyncio.ensure_future(self._ask(listens=listens))
        try:
            # Without TLS on one side only, both sides may wait for each other until the timeout.
            done, _ = await asyncio.wait({task}, timeout=_PROBE_AFTER)
            error = task.exception() if done else None
            may_be_other = not done or _may_speak_another_protocol(error)
            if may_be_other and (fault := await self._fault_of_ports(error)):
                raise StoreSettingsError(f"Redis at {self.place} {fault}") from error
            await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _ask(self, *, listens: bool) -> None:
        with self.errors():
            await self._topology.check()
            if listens:
                await self._topology.view(self.make())

    async def _fault_of_ports(self, error: BaseException | None) -> str | None:
        """Return the fault if a server speaks another protocol, or TLS on one side only."""
        tls = None if self._tls is None else tls_context(self._tls)
        probes = (fault_of_port(*address, tls) for address in self._topology.addresses)
        faults = [fault for fault in await asyncio.gather(*probes) if fault is not None]
        if not faults and error is not None and isinstance(error.__cause__, InvalidResponse):
            faults.append(NO_REDIS)
        return faults[0] if faults else None

    async def view(self, connection: Any) -> Any:  # noqa: ANN401 - each topology's own
        """Return the view of the servers, which must not change during a Pub/Sub connection.

        Call this before connecting, and pass the result to `changed` afterwards. None if nothing
        can change.
        """
        with self.errors():
            return await self._topology.view(connection)

    async def changed(self, connection: Any, view: Any) -> str:  # noqa: ANN401 - as above
        """Wait until a Pub/Sub connection may miss messages, and return the reason."""
        return await self._topology.changed(connection, view)

    @property
    def failovers(self) -> int:
        """Number of failovers since the first use.

        A failover changes the address of the master under Sentinel, or the primary of a slot in a
        cluster, which a move of the slot does, too. States that were published shortly before may
        be lost, although the old server confirmed them, so a publisher should publish them again.
        The servers are checked twice a second from the first use until `aclose`. Always 0 for a
        single server.
        """
        return self._topology.failovers

    @property
    def one_clock(self) -> bool:
        """Whether one clock assigns all versions, so that they are ordered across contracts.

        In a cluster each primary has its own clock, and messages of different primaries arrive out
        of order. Under Sentinel, the next master has another clock.
        """
        return self._topology.one_clock

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Convert exceptions of redis-py in the block to `StoreError`.

        Errors of this package are not converted. After an unexpected reply or on a closed
        transport, redis-py raises built-in exceptions. They are converted, too, because a broken
        server must not end the process.

        A cancellation that redis-py has swallowed is raised again. redis-py 8.1 swallows one that
        arrives while a connection is taken from the pool or read, and a task in a loop would never
        end.
        """
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        try:
            yield
        except ImeLiveError:
            raise
        except Exception as error:
            if task and task.cancelling() > before:
                raise asyncio.CancelledError from error
            raise self.error(error) from error
        if task and task.cancelling() > before:
            raise asyncio.CancelledError

    def error(self, error: Exception) -> StoreError:
        """Convert an exception to a `StoreError`."""
        redis = f"Redis at {self.place}"
        moving = isinstance(self._topology, Cluster) and isinstance(error, AskError)
        # Only the class and the first word, because the rest may name keys and users. redis-py
        # removes a first word for which it has a class.
        kind = f"{type(error).__name__} {str(error).partition(' ')[0]}"
        if not moving and (fault := final_fault(error)) is not None:
            return StoreSettingsError(f"{redis} {fault}", kind=kind)
        if isinstance(error, ResponseError):
            return StoreError(f"{redis} refused a command: {error}", kind=kind)
        if isinstance(error, InvalidResponse) or not isinstance(
            error, RedisError | OSError | hiredis.HiredisError
        ):
            # Replies may be out of step with commands, so no idle connection must be used again.
            self._topology.abort_idle()
        if isinstance(error, TimeoutError | RedisTimeoutError):
            return StoreError(f"{redis} did not answer within {self.timeout:g} s")
        if reason := _reason_of(error):
            return StoreError(f"{redis} {reason}")
        if not isinstance(error, RedisError | hiredis.HiredisError):
            # The traceback is only in the log.
            _limited.error("unexpected error inside redis-py", key=repr(error), exc_info=error)
            return StoreError(f"{redis} gave an answer that cannot be used: {error!r}")
        return StoreError(f"{redis}: {error}")


def _may_speak_another_protocol(error: BaseException | None) -> bool:
    """Return whether an error may come from a server that does not speak Redis's protocol."""
    return (
        isinstance(error, StoreError)
        and not isinstance(error, StoreSettingsError)
        and not isinstance(error.__cause__, ResponseError)
    )


def _reason_of(error: BaseException) -> str | None:
    """Return the reason of the operating system in the chain of an exception; None without one."""
    for cause in chain(error):
        if isinstance(cause, socket.gaierror):
            return f"cannot be found: {system_reason(cause)}"
        if isinstance(cause, ConnectionRefusedError):
            return "refused the connection"
        if isinstance(cause, ssl.SSLError):
            return f"cannot be reached: {cause.strerror or cause}"
        if isinstance(cause, OSError):
            # The reason that asyncio gives has the address as well.
            reason = os.strerror(cause.errno).lower() if cause.errno else str(cause)
            return f"cannot be reached: {reason}"
    return None


def _topology_of(url: RedisUrl, timeout: float) -> Topology:
    """Return the topology of a URL, without connecting.

    Args:
        url: URL of Redis.
        timeout: time to wait for an answer [s].
    """
    options: dict[str, Any] = {**url.login, **_common(timeout)}
    if url.tls is not None:
        options |= {"connection_class": SSLConnection, **url.tls}
    if url.kind is Kind.CLUSTER:
        return Cluster(url.hosts, options)
    options["db"] = url.database
    if url.kind is Kind.SENTINEL:
        return Sentinels(url.hosts, url.service, options, url.sentinel_login)
    if url.path:
        options |= {"connection_class": UnixDomainSocketConnection, "path": url.path}
    else:
        [(host, port)] = url.hosts
        options |= {"host": host, "port": port}
    return Single(options)


def _common(timeout: float) -> dict[str, Any]:
    return {
        "max_connections": _MAX_CONNECTIONS,
        "timeout": timeout,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        # A Pub/Sub message takes 7.2 µs with RESP2, 12.6 µs with RESP3.
        "protocol": 2,
        "decode_responses": False,
        "retry": retry_once(),
        **_NAMELESS,
    }
