"""Connections to Redis or Valkey, and the one place where errors of redis-py become ours.

Settings come in; a client and single connections go out, whether there is one server or several
(`ime_live.topology`). Besides `ime_live.store` and `ime_live.subscriber`, which are built on it,
nothing knows redis-py, and nothing outside sees one of its exceptions, nor a password in an
error's text.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import hiredis
import structlog
from redis.asyncio.connection import parse_url
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ime_live.cluster import Cluster
from ime_live.errors import ImeLiveError, SettingsError, StoreError
from ime_live.log_limiter import LogLimiter
from ime_live.pool import retry_once
from ime_live.sentinel import Sentinels
from ime_live.settings import StoreSettings
from ime_live.topology import Address, Single, Topology

_limited: Final = LogLimiter(structlog.get_logger())

# More connections would not make one server faster; who finds none free waits for one.
_MAX_CONNECTIONS: Final = 16


class Connections:
    """Makes connections as the settings say.

    Attributes:
        place: hosts and ports, or the path of the socket; for texts.
        timeout: seconds within which Redis answers, or the connection counts as broken.
    """

    def __init__(self, settings: StoreSettings) -> None:
        """Read the settings; nothing is connected yet.

        Raises:
            SettingsError: ``redis_url`` is not a URL of Redis, or it names a database other than 0
                and ``key_prefix`` is the default.
        """
        self.timeout = settings.redis_timeout
        try:
            self._topology = _topology_of(settings.redis_url, self.timeout)
            database = self.make().db  # refuses options in the URL that do not exist
        except (ValueError, TypeError, RedisError) as error:
            # Without the cause: urllib's texts quote parts of the URL, so maybe the password.
            why = f": {error}" if isinstance(error, _UrlError) else ""
            raise SettingsError(
                f"--redis-url {redacted(settings.redis_url)} is not a URL of Redis{why}"
            ) from None
        if database and settings.key_prefix == StoreSettings.key_prefix:
            # Two environments on two databases of one server would share all channels.
            raise SettingsError(
                f"--redis-url names database {database}, and Pub/Sub ignores databases: set "
                f"--key-prefix to a prefix of this database's own, not {settings.key_prefix!r}"
            )
        self.place = self._topology.place

    def client(self) -> Any:  # noqa: ANN401 - redis-py's are loosely typed, and not alike in 6 to 8
        """A client with redis-py's commands, the same each time."""
        return self._topology.client()

    def transaction(self, key: str) -> AbstractAsyncContextManager[Any]:
        """A pipeline of redis-py that watches ``key``."""
        return self._topology.transaction(key)

    async def aclose(self) -> None:
        """Close what `client` and `transaction` have opened."""
        with self.errors():
            await self._topology.aclose()

    def make(self) -> Any:  # noqa: ANN401 - as above
        """One connection of redis-py outside the pool, not connected yet."""
        return self._topology.make()

    async def view(self, connection: Any) -> Any:  # noqa: ANN401 - each topology's own
        """What must stay as it is while ``connection`` listens; None if nothing else can change.

        To be taken before connecting, and given to `changed` after it.
        """
        with self.errors():
            return await self._topology.view(connection)

    async def changed(self, connection: Any, view: Any) -> str:  # noqa: ANN401 - as above
        """Wait until messages may no longer come, or come whole, to ``connection``; the reason."""
        return await self._topology.changed(connection, view)

    @property
    def failovers(self) -> int:
        """How often another server has come to lead since the first use; grows only.

        Under Sentinel it is the master's address that has changed, in a cluster the primary of a
        slot, also by a move of the slot. What was published shortly before it grew may be lost,
        although the server that led before has confirmed it: whoever needs it there publishes it
        again. It is looked at twice a second, from the first use until `aclose`, used or not.
        Always 0 for a single server.
        """
        return self._topology.failovers

    @property
    def one_clock(self) -> bool:
        """Whether one server gives all versions, so that those of different contracts are in order.

        In a cluster each primary gives them by its own clock, and what they publish is not received
        in their order. Under Sentinel, the next master has another clock.
        """
        return self._topology.one_clock

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn whatever redis-py raises inside into StoreError; our own errors pass.

        Not only its own errors: a reply of another type than it expects, or a transport that has
        been closed, makes it raise what the interpreter has. That is a broken server or connection
        too, and no reason for a process to end.

        A cancellation that redis-py has swallowed is raised here: in 8.1, one that comes while a
        connection is taken from the pool or read is lost, and a task that lives in a loop would
        never end.
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
        """The StoreError that says what ``error`` means."""
        redis = f"Redis at {self.place}"
        if isinstance(error, AuthenticationError):
            return StoreError(f"{redis} refused the login: {error}")
        if isinstance(error, ResponseError):
            # The rest may name keys and users. redis-py has a class for some first words, and cuts
            # them off.
            kind = f"{type(error).__name__} {str(error).partition(' ')[0]}"
            return StoreError(f"{redis} refused a command: {error}", kind=kind)
        if isinstance(error, TimeoutError | RedisTimeoutError):
            return StoreError(f"{redis} did not answer within {self.timeout:g} s")
        if reason := _reason_of(error):
            return StoreError(f"{redis} cannot be reached: {reason}")
        if not isinstance(error, RedisError | hiredis.HiredisError):
            # Nobody else will see where it comes from.
            _limited.error("an error of redis-py's insides", key=repr(error), exc_info=error)
            return StoreError(f"{redis} gave an answer that cannot be used: {error!r}")
        return StoreError(f"{redis}: {error}")


def redacted(url: str) -> str:
    """``url`` without its user and password, to show and to log.

    >>> redacted("redis://user:secret@example.org:6379/1")
    'redis://***@example.org:6379/1'
    """
    # To the last @: a password whose @ or / is not quoted must not be shown either.
    url = re.sub(r"//.*@", "//***@", url, flags=re.DOTALL)
    return re.sub(r"(username|password)=[^&]*", r"\1=***", url)


def _reason_of(error: BaseException | None) -> str | None:
    """The operating system's reason, from the innermost words of a chain of exceptions."""
    while error is not None:
        if isinstance(error, socket.gaierror | ssl.SSLError):
            return str(error.strerror or error)
        if isinstance(error, OSError):
            return os.strerror(error.errno).lower() if error.errno else str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


class _UrlError(ValueError):
    # A URL that lacks something; its text holds no part of the URL.
    pass


def _topology_of(url: str, timeout: float) -> Topology:
    """The topology that a URL names; nothing is connected yet.

    Args:
        url: see `ime_live.settings.StoreSettings.redis_url`.
        timeout: seconds within which a server answers.

    Raises:
        _UrlError: the URL lacks something.
        ValueError, TypeError, RedisError: it is none; the text may hold parts of it.
    """
    scheme, _, kind = url.partition("://")[0].partition("+")
    options: dict[str, Any] = {}
    if not kind:
        options |= parse_url(url)
        if "path" not in options:
            options = {"host": "localhost", "port": 6379} | options
        return Single(options | _common(timeout))
    if scheme not in ("redis", "rediss") or kind not in ("sentinel", "cluster"):
        raise _UrlError
    parts = urlsplit(url)
    if "@" in parts.path:
        raise _UrlError("in a password, / is written %2F")
    login, at, places = parts.netloc.rpartition("@")
    hosts = [_address(place, 26379 if kind == "sentinel" else 6379) for place in places.split(",")]
    if kind == "cluster":
        options |= parse_url(f"{scheme}://{login}{at}host{parts.path}?{parts.query}")
        if options.pop("db", 0):
            raise _UrlError("a cluster has no databases")
        del options["host"]
        return Cluster(hosts, options | _common(timeout))
    service, _, database = unquote(parts.path.strip("/")).partition("/")
    if not service:
        raise _UrlError(
            "it must name Sentinel's master, as in redis+sentinel://host:26379/mymaster"
        )
    options |= parse_url(f"{scheme}://{login}{at}host/{int(database or 0)}?{parts.query}")
    del options["host"]
    return Sentinels(hosts, service, options | _common(timeout))


def _common(timeout: float) -> dict[str, Any]:
    return {
        "max_connections": _MAX_CONNECTIONS,
        "timeout": timeout,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        # RESP3 costs 12.6 µs a Pub/Sub message where RESP2 costs 7.2 (architecture).
        "protocol": 2,
        "decode_responses": False,
        "retry": retry_once(),
    }


def _address(place: str, port: int) -> Address:
    parsed = urlsplit(f"//{place}")
    if not parsed.hostname:
        raise _UrlError("a host is missing")
    return parsed.hostname, parsed.port or port
