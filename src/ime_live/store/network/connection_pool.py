"""Connection pool: connections of redis-py that recover from all kinds of breaks.

redis-py checks a connection before it is used, but does not notice all broken ones. Under uvloop,
8.0 and 8.1 return connections that were reset, and the RuntimeError of a closed transport is
neither an error of redis-py nor retried. The connections here reconnect before use if their
transport is closed, and raise only errors of redis-py.

If one command times out over a half-open link, all connections over it are broken. So a timeout
also breaks the idle connections; otherwise the next command of each would time out, too.
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

_NO_REPLY: Final = NOT_ENOUGH_DATA
"""Result of a parser of redis-py if no complete reply is buffered."""


def retry_once() -> Retry:
    """Return the policy to retry a command once, at once, after a broken connection.

    This is safe, because to publish the same state twice changes nothing.
    """
    return Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))


class ReconnectMixin:
    """Mixin for connections of redis-py, which reconnects broken ones, and can break them.

    It uses three private names of redis-py; `ime_live.store.pubsub` uses two.
    """

    _reader: asyncio.StreamReader | None
    _writer: asyncio.StreamWriter | None
    _parser: Any
    _limit: asyncio.Timeout | None = None
    """Timeout that ends an attempt to connect."""
    _aborted = False
    """Whether `abort` was called since the attempt to connect began."""
    close_reason: str | None = None
    """Reason why the connection must not connect again; None if it may."""
    on_timeout: Callable[[], None] | None = None
    """Called when the server has timed out."""
    driver_info: Any
    lib_name: Any
    lib_version: Any

    async def connect(self) -> None:
        """Connect, unless the present connection is not broken."""
        reader, writer = self._reader, self._writer
        if reader and writer and (reader.at_eof() or writer.transport.is_closing()):
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
        self._aborted = False
        try:
            await super().connect()  # type: ignore[misc]
        except RedisConnectionError:
            # Broken by `abort` after a failover. redis-py 6 does not retry.
            if not self._aborted:
                raise
            await super().connect()  # type: ignore[misc]

    async def _connect(self) -> None:
        if self.close_reason is not None:
            raise RedisConnectionError(self.close_reason)
        # redis-py would send its name by CLIENT SETINFO, which Redis 7.0 does not support. The name
        # is in the first attribute, in redis-py 6 and 7 in the other two.
        self.driver_info = self.lib_name = self.lib_version = None
        try:
            async with asyncio.timeout(None) as self._limit:
                await super()._connect()  # type: ignore[misc]
        except TimeoutError:
            if self._limit is not None and self._limit.expired():
                raise RedisConnectionError(self.close_reason or "broken while connecting") from None
            raise
        finally:
            self._limit = None

    def abort(self, close_reason: str | None = None) -> None:
        """Break the connection at once; waiting commands fail, and may be retried.

        Args:
            close_reason: reason why the connection must not connect again; None if it may.
        """
        self.close_reason = close_reason or self.close_reason
        self._aborted = True
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())
        if self._writer is not None:
            self._writer.transport.abort()

    def pack_command(self, *args: Any) -> list[bytes]:  # noqa: ANN401
        """Encode a command in C, which redis-py does only in its blocking client."""
        name, *rest = args
        return [hiredis.pack_command((*name.split(), *rest))]

    async def send_packed_command(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
        """Send a command; see redis-py."""
        try:
            await super().send_packed_command(*args, **options)  # type: ignore[misc]
        except RedisTimeoutError:
            self._on_timed_out()
            raise
        except (RedisError, OSError):
            raise
        except Exception as error:
            raise _broken_by(error) from error

    async def read_response(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        """Read a reply; a READONLY error of a replica breaks the connection."""
        try:
            # Most replies of a pipeline arrive together. A buffered reply needs no timeout, which
            # takes most of the 20 µs of redis-py.
            reply = _NO_REPLY if args or options else self._buffered_reply()
            if reply is _NO_REPLY:
                reply = await super().read_response(*args, **options)  # type: ignore[misc]
        except ResponseError as error:
            # Redis 6 reports READONLY within the error of a script.
            if not isinstance(error, ReadOnlyError) and "READONLY" not in str(error):
                raise
            await self.disconnect()  # type: ignore[attr-defined]
            raise RedisConnectionError("the server is a replica that cannot be written") from None
        except RedisTimeoutError:
            self._on_timed_out()
            raise
        except (RedisError, OSError):
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise
        except Exception as error:
            raise _broken_by(error) from error
        else:
            return reply

    def _buffered_reply(self) -> Any:  # noqa: ANN401 - as above
        """Return the next reply if it is completely buffered, else `_NO_REPLY`.

        Raises:
            RedisError: the reply is an error.
        """
        reader = self._parser._reader
        if self._reader is None or not isinstance(reader, hiredis.Reader):
            return _NO_REPLY
        reply = reader.gets()
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _on_timed_out(self) -> None:
        if self.on_timeout is not None:
            self.on_timeout()


def _broken_by(error: Exception) -> RedisConnectionError:
    # redis-py has closed the connection before it raises such an error.
    return RedisConnectionError(f"the connection is broken ({type(error).__name__})")


class TcpConnection(ReconnectMixin, Connection):
    """A connection over TCP."""


class TlsConnection(ReconnectMixin, SSLConnection):
    """A connection over TLS."""


class UnixConnection(ReconnectMixin, UnixDomainSocketConnection):
    """A connection over a Unix socket."""


_ROBUST_CLASSES = {SSLConnection: TlsConnection, UnixDomainSocketConnection: UnixConnection}


class Pool(BlockingConnectionPool):
    """Connections to one server; a command waits if all are in use."""

    def __init__(
        self,
        *,
        connection_class: type[Any] = Connection,
        on_timeout: Callable[[], None] | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        """Create a pool; connection classes of redis-py are replaced by those of this module.

        Args:
            connection_class: a connection class of redis-py or of this module.
            on_timeout: called when a command times out; None for `abort_idle`.
            options: redis-py's options of connections.
        """
        robust_class = _ROBUST_CLASSES.get(connection_class, TcpConnection)
        if issubclass(connection_class, ReconnectMixin):
            robust_class = connection_class
        super().__init__(connection_class=robust_class, **options)
        self._close_reason: str | None = None
        self._on_timeout = on_timeout or self.abort_idle

    def make_connection(self) -> Any:  # noqa: ANN401 - redis-py's are loosely typed
        """Return a new connection, not connected yet."""
        connection: Any = super().make_connection()  # type: ignore[no-untyped-call]
        connection.close_reason = self._close_reason
        connection.on_timeout = self._on_timeout
        return connection

    def abort_idle(self) -> None:
        """Break the idle connections."""
        idle: tuple[Any, ...] = tuple(self._available_connections)
        for connection in idle:
            connection.abort()

    def abort(self, close_reason: str | None = None) -> None:
        """Break all connections, including those in use.

        Args:
            close_reason: reason why no new connections may be made; None if they may.
        """
        self._close_reason = close_reason or self._close_reason
        connections: tuple[Any, ...] = (*self._available_connections, *self._in_use_connections)
        for connection in connections:
            connection.abort(close_reason)

    async def aclose(self) -> None:
        """Close the pool, even if commands are running."""
        # Not after the replies, because a server may hang.
        self.abort("it is closed")
        await super().aclose()
