"""Connection pool: redis-py's connections, made robust against every kind of break.

redis-py checks a connection before it hands it out, but misses some broken ones. Under uvloop, 8.0
and 8.1 hand out connections that were reset, and the RuntimeError of a closed transport is neither
an error of redis-py nor retried. So each connection here is renewed before use if its transport is
closed, and raises only errors of redis-py.

A half-open link is silent, and all connections over it are dead as soon as one command has timed
out. So a timeout also breaks the idle connections: each of them would cost its next command the
whole timeout again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import hiredis
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

_PENDING: Final = NOT_ENOUGH_DATA
"""What a parser of redis-py returns in place of a reply that has not been read."""


def retry_once() -> Retry:
    """Return the policy of one more attempt, at once, for a connection that Redis has closed.

    It is safe, because publishing the same state twice changes nothing.
    """
    return Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))


class ReconnectMixin:
    """Mixin for redis-py's connections: renew a broken one, and let others break it.

    It needs three of their private names; `ime_live.store.pubsub` needs two.
    """

    _reader: asyncio.StreamReader | None
    _writer: asyncio.StreamWriter | None
    _parser: Any
    _limit: asyncio.Timeout | None = None
    """Timeout that ends an attempt to connect."""
    _aborted = False
    """Whether `abort` has broken it since the attempt to connect began."""
    closed_for: str | None = None
    """Why it must not connect again; None if it may."""
    on_timeout: Callable[[], None] | None = None
    """Called when the server has timed out."""
    driver_info: Any
    lib_name: Any
    lib_version: Any

    async def connect(self) -> None:
        """Connect, unless there is a connection that is not broken."""
        reader, writer = self._reader, self._writer
        if reader and writer and (reader.at_eof() or writer.transport.is_closing()):
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
        self._aborted = False
        try:
            await super().connect()  # type: ignore[misc]
        except RedisConnectionError:
            # Broken on purpose, because another server leads. redis-py 6 does not retry.
            if not self._aborted:
                raise
            await super().connect()  # type: ignore[misc]

    async def _connect(self) -> None:
        if self.closed_for is not None:
            raise RedisConnectionError(self.closed_for)
        # redis-py would tell its name by CLIENT SETINFO, which Redis 7.0 does not know. Its name is
        # in the first of these, or (6 and 7) in the other two.
        self.driver_info = self.lib_name = self.lib_version = None
        try:
            async with asyncio.timeout(None) as self._limit:
                await super()._connect()  # type: ignore[misc]
        except TimeoutError:
            if self._limit is not None and self._limit.expired():
                raise RedisConnectionError(self.closed_for or "broken while connecting") from None
            raise
        finally:
            self._limit = None

    def abort(self, closed_for: str | None = None) -> None:
        """Break the connection at once; waiting commands fail, and may be retried.

        Args:
            closed_for: why it must not connect again; None if it may.
        """
        self.closed_for = closed_for or self.closed_for
        self._aborted = True
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())
        if self._writer is not None:
            self._writer.transport.abort()

    def pack_command(self, *args: Any) -> list[bytes]:  # noqa: ANN401
        """Encode a command in C, as only redis-py's blocking client does."""
        name, *rest = args
        return [hiredis.pack_command((*name.split(), *rest))]

    async def send_packed_command(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
        """Send a command; see redis-py."""
        try:
            await super().send_packed_command(*args, **options)  # type: ignore[misc]
        except RedisTimeoutError:
            self._timed_out()
            raise
        except (RedisError, OSError):
            raise
        except Exception as error:
            raise _broken_by(error) from error

    async def read_response(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """Read a reply; a READONLY error of a replica breaks the connection."""
        try:
            # Most replies of a pipeline come together. One that has come needs no time limit, which
            # takes most of the 20 µs of redis-py.
            reply = _PENDING if args or options else self._received()
            if reply is _PENDING:
                reply = await super().read_response(*args, **options)  # type: ignore[misc]
        except ResponseError as error:
            # Redis 6 reports it within the text of the script's error.
            if not isinstance(error, ReadOnlyError) and "READONLY" not in str(error):
                raise
            await self.disconnect()  # type: ignore[attr-defined]
            raise RedisConnectionError("the server is a replica that cannot be written") from None
        except RedisTimeoutError:
            self._timed_out()
            raise
        except (RedisError, OSError):
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise
        except Exception as error:
            raise _broken_by(error) from error
        else:
            return reply

    def _received(self) -> Any:  # noqa: ANN401 - as above
        """Return the next reply if the whole of it has been read, else `_PENDING`.

        Raises:
            RedisError: it is an error.
        """
        reader = self._parser._reader
        if self._reader is None or not isinstance(reader, hiredis.Reader):
            return _PENDING
        reply = reader.gets()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _timed_out(self) -> None:
        if self.on_timeout is not None:
            self.on_timeout()


def _broken_by(error: Exception) -> RedisConnectionError:
    # redis-py has closed the connection before it passes such an error on.
    return RedisConnectionError(f"the connection is broken ({type(error).__name__})")


class TcpConnection(ReconnectMixin, Connection):
    """A connection over TCP."""


class TlsConnection(ReconnectMixin, SSLConnection):
    """A connection over TLS."""


class UnixConnection(ReconnectMixin, UnixDomainSocketConnection):
    """A connection over a socket of this machine."""


_OURS = {SSLConnection: TlsConnection, UnixDomainSocketConnection: UnixConnection}


class Pool(BlockingConnectionPool):
    """Connections to one server; a command waits if none is free."""

    def __init__(
        self,
        *,
        connection_class: type[Any] = Connection,
        on_timeout: Callable[[], None] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """Create a pool; redis-py's connection classes are replaced by those above.

        Args:
            connection_class: a connection class of redis-py or of this module.
            on_timeout: called when a command times out; None calls `abort_idle`.
            options: redis-py's options of each connection.
        """
        ours = _OURS.get(connection_class, TcpConnection)
        if issubclass(connection_class, ReconnectMixin):
            ours = connection_class
        super().__init__(connection_class=ours, **options)
        self._closed_for: str | None = None
        self._on_timeout = on_timeout or self.abort_idle

    def make_connection(self) -> Any:  # noqa: ANN401 - redis-py's are loosely typed
        """Return a new connection, not connected yet."""
        connection: Any = super().make_connection()  # type: ignore[no-untyped-call]
        connection.closed_for = self._closed_for
        connection.on_timeout = self._on_timeout
        return connection

    def abort_idle(self) -> None:
        """Break the idle connections."""
        idle: tuple[Any, ...] = tuple(self._available_connections)
        for connection in idle:
            connection.abort()

    def abort(self, closed_for: str | None = None) -> None:
        """Break all connections, also those in use.

        Args:
            closed_for: why no more may be made; None leaves that unchanged.
        """
        self._closed_for = closed_for or self._closed_for
        connections: tuple[Any, ...] = (*self._available_connections, *self._in_use_connections)
        for connection in connections:
            connection.abort(closed_for)

    async def aclose(self) -> None:
        """Close the pool, even with commands under way."""
        # No caller waits for an answer, and a server may hang.
        self.abort("it is closed")
        await super().aclose()
