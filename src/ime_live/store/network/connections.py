"""Connections to Redis or Valkey, and the conversion of redis-py's errors.

It gives a client and single connections, for one server or several (see
`ime_live.store.network.topology`). Only `ime_live.store` uses redis-py. Its exceptions are
converted to `StoreError` here, and no text contains a password.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import hiredis
import structlog
from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection
from redis.exceptions import AskError, InvalidResponse, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ime_live.errors import ImeLiveError, SettingsError, StoreError, StoreSettingsError
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

# More connections would not make one server faster; a command waits if none is free.
_MAX_CONNECTIONS: Final = 16


_SILENCE: Final = 1.0
"""Seconds after which a check probes whether a silent server speaks another protocol."""


class Connections:
    """Makes connections by the settings.

    Attributes:
        place: hosts and ports, or the path of the socket, for messages.
        timeout: seconds to wait for an answer before a connection counts as broken.
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
        """Return the client that runs commands, the same each time. Its errors are redis-py's."""
        return self._topology

    async def aclose(self) -> None:
        """Close the connections of `client`."""
        with self.errors():
            await self._topology.aclose()

    def make(self) -> Any:  # noqa: ANN401 - redis-py's are loosely typed, and not alike in 6 to 8
        """Return a connection of redis-py outside the pool, not connected yet."""
        return self._topology.make()

    async def check(self, *, listens: bool) -> None:
        """Check once whether the servers match the settings.

        Args:
            listens: whether a connection will listen, for which a cluster is asked more.

        Raises:
            StoreSettingsError: they do not match.
            StoreError: they cannot be reached.
        """
        asking = asyncio.ensure_future(self._ask(listens=listens))
        try:
            # A client without TLS and a port with TLS may wait for each other until the timeout.
            done, _ = await asyncio.wait({asking}, timeout=_SILENCE)
            error = asking.exception() if done else None
            dumb = not done or _is_dumb(error)
            if dumb and (fault := await self._fault_of_ports(error)):
                raise StoreSettingsError(f"Redis at {self.place} {fault}") from error
            await asking
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _ask(self, *, listens: bool) -> None:
        with self.errors():
            await self._topology.check()
            if listens:
                await self._topology.view(self.make())

    async def _fault_of_ports(self, error: BaseException | None) -> str | None:
        """Return which protocol the servers speak in place of Redis's, or of TLS."""
        tls = None if self._tls is None else tls_context(self._tls)
        asking = (fault_of_port(*each, tls) for each in self._topology.addresses)
        faults = [fault for fault in await asyncio.gather(*asking) if fault is not None]
        if not faults and error is not None and isinstance(error.__cause__, InvalidResponse):
            faults.append(NO_REDIS)
        return faults[0] if faults else None

    async def view(self, connection: Any) -> Any:  # noqa: ANN401 - each topology's own
        """Return the view of the servers that must not change while ``connection`` listens.

        Take it before connecting, and pass it to `changed` afterwards. None if nothing can change.
        """
        with self.errors():
            return await self._topology.view(connection)

    async def changed(self, connection: Any, view: Any) -> str:  # noqa: ANN401 - as above
        """Wait until ``connection`` may miss messages, and return the reason."""
        return await self._topology.changed(connection, view)

    @property
    def failovers(self) -> int:
        """Number of failovers since the first use; it only grows.

        Under Sentinel the address of the master has changed, in a cluster the primary of a slot,
        also by a move of the slot. States published shortly before may be lost, although the old
        server confirmed them, so a publisher should publish them again. The servers are checked
        twice a second from the first use until `aclose`. Always 0 for a single server.
        """
        return self._topology.failovers

    @property
    def one_clock(self) -> bool:
        """Whether one server assigns all versions, so that they are ordered across contracts.

        In a cluster each primary assigns them by its own clock, and messages of different primaries
        arrive out of order. Under Sentinel, the next master has another clock.
        """
        return self._topology.one_clock

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Convert exceptions of redis-py inside the block to `StoreError`.

        Errors of this package pass. An unexpected reply or a closed transport makes redis-py raise
        built-in exceptions, which are converted too: a broken server must not end the process.

        A cancellation that redis-py has swallowed is raised again. redis-py 8.1 loses one that
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
        # The text after the first word may name keys and users. redis-py has classes for some
        # first words, and cuts them off.
        kind = f"{type(error).__name__} {str(error).partition(' ')[0]}"
        if not moving and (fault := final_fault(error)) is not None:
            return StoreSettingsError(f"{redis} {fault}", kind=kind)
        if isinstance(error, ResponseError):
            return StoreError(f"{redis} refused a command: {error}", kind=kind)
        if isinstance(error, InvalidResponse) or not isinstance(
            error, RedisError | OSError | hiredis.HiredisError
        ):
            # It may have been the answer to another command, as all that come after it would be.
            self._topology.abort_idle()
        if isinstance(error, TimeoutError | RedisTimeoutError):
            return StoreError(f"{redis} did not answer within {self.timeout:g} s")
        if reason := _reason_of(error):
            return StoreError(f"{redis} {reason}")
        if not isinstance(error, RedisError | hiredis.HiredisError):
            # The log is the only place for the traceback.
            _limited.error("unexpected error inside redis-py", key=repr(error), exc_info=error)
            return StoreError(f"{redis} gave an answer that cannot be used: {error!r}")
        return StoreError(f"{redis}: {error}")


def _is_dumb(error: BaseException | None) -> bool:
    """Return whether the server may not have answered in Redis's protocol."""
    return (
        isinstance(error, StoreError)
        and not isinstance(error, StoreSettingsError)
        and not isinstance(error.__cause__, ResponseError)
    )


def _reason_of(error: BaseException) -> str | None:
    """Return the operating system's reason, from the innermost exception of the chain."""
    for cause in chain(error):
        if isinstance(cause, socket.gaierror):
            return f"cannot be found: {(cause.strerror or str(cause)).lower()}"
        if isinstance(cause, ConnectionRefusedError):
            return "refused the connection"
        if isinstance(cause, ssl.SSLError):
            return f"cannot be reached: {cause.strerror or cause}"
        if isinstance(cause, OSError):
            reason = os.strerror(cause.errno).lower() if cause.errno else str(cause)
            return f"cannot be reached: {reason}"
    return None


def _topology_of(url: RedisUrl, timeout: float) -> Topology:
    """Return the topology that a URL names, without connecting.

    Args:
        url: URL of Redis.
        timeout: seconds to wait for an answer.
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
        # RESP3 costs 12.6 µs per Pub/Sub message, RESP2 7.2.
        "protocol": 2,
        "decode_responses": False,
        "retry": retry_once(),
    }
