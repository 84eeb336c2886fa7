"""Connections to Redis or Valkey, and the one place where redis-py's errors become ours.

Settings come in; a client and single connections go out. Besides `ime_live.store` and
`ime_live.subscriber`, which are built on it, nothing knows redis-py, and nothing outside sees one
of its exceptions, nor a password in an error's text.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ime_live.errors import SettingsError, StoreError
from ime_live.settings import StoreSettings

# More connections would not make one Redis faster; who finds none free waits for one.
_MAX_CONNECTIONS: Final = 16


class Connections:
    """Makes connections as the settings say.

    Attributes:
        place: host and port, or the path of the socket; for texts.
        timeout: seconds within which Redis answers, or the connection counts as broken.
    """

    def __init__(self, settings: StoreSettings) -> None:
        """Read the settings; nothing is connected yet.

        Raises:
            SettingsError: ``redis_url`` is not a URL of Redis.
        """
        self.timeout = settings.redis_timeout
        try:
            options: dict[str, Any] = {"host": "localhost", "port": 6379}
            options |= parse_url(settings.redis_url)
            self.place: str = options.get("path") or "{host}:{port}".format(**options)
            if "path" in options:
                del options["host"], options["port"]
            options |= {
                "max_connections": _MAX_CONNECTIONS,
                "timeout": self.timeout,
                "socket_timeout": self.timeout,
                "socket_connect_timeout": self.timeout,
                # RESP3 costs 12.6 µs a Pub/Sub message where RESP2 costs 7.2 (architecture).
                "protocol": 2,
                "decode_responses": False,
                # One attempt more, at once, for a pooled connection that Redis has closed
                # meanwhile. Safe: to publish the same state twice changes nothing.
                "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
            }
            # Commands and connections of redis-py are loosely typed, and not alike in 6 to 8.
            self._pool: Any = BlockingConnectionPool(**options)
            self.make()  # refuses options in the URL that do not exist
        except (ValueError, TypeError, RedisError):
            # Without the cause: urllib's texts quote parts of the URL, so maybe the password.
            raise SettingsError(
                f"--redis-url {redacted(settings.redis_url)} is not a URL of Redis"
            ) from None

    def client(self) -> Any:  # noqa: ANN401 - see above
        """A client of redis-py with the pool of connections; to be closed by the caller."""
        return Redis.from_pool(self._pool)

    def make(self) -> Any:  # noqa: ANN401 - see above
        """One connection of redis-py outside the pool, not connected yet."""
        return self._pool.make_connection()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what redis-py raises inside into StoreError."""
        try:
            yield
        except (RedisError, OSError) as error:
            raise self.error(error) from error

    def error(self, error: Exception) -> StoreError:
        """The StoreError that says what ``error`` means."""
        redis = f"Redis at {self.place}"
        if isinstance(error, AuthenticationError):
            return StoreError(f"{redis} refused the login: {error}")
        if isinstance(error, ResponseError):
            return StoreError(f"{redis} refused a command: {error}")
        if isinstance(error, TimeoutError | RedisTimeoutError):
            return StoreError(f"{redis} did not answer within {self.timeout:g} s")
        if reason := _reason_of(error):
            return StoreError(f"{redis} cannot be reached: {reason}")
        return StoreError(f"{redis}: {error}")


def redacted(url: str) -> str:
    """``url`` without its user and password, to show and to log.

    >>> redacted("redis://user:secret@example.org:6379/1")
    'redis://***@example.org:6379/1'
    """
    # To the last @: a password whose @ or / is not quoted must not be shown either.
    url = re.sub(r"//.*@", "//***@", url, flags=re.DOTALL)
    return re.sub(r"\b(username|password)=[^&]*", r"\1=***", url)


def _reason_of(error: BaseException | None) -> str | None:
    """The operating system's reason, from the innermost words of a chain of exceptions."""
    while error is not None:
        if isinstance(error, socket.gaierror | ssl.SSLError):
            return str(error.strerror or error)
        if isinstance(error, OSError):
            return os.strerror(error.errno).lower() if error.errno else str(error)
        error = error.__cause__ or error.__context__
    return None
