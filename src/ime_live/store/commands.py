"""Run commands on Redis: pipelines with few round trips, and scripts that are loaded on demand."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType, UnionType
from typing import Any, Final, Self

import structlog
from redis.exceptions import InvalidResponse, NoScriptError

from ime_live.errors import FencedError
from ime_live.log_limiter import LogLimiter
from ime_live.settings import StoreSettings
from ime_live.store import scripts
from ime_live.store.keys import Keys
from ime_live.store.network.connections import Connections
from ime_live.store.network.topology import Command

log = structlog.get_logger()

# Commands per round trip: about 800 KB of states, which take the server a few milliseconds.
_CHUNK: Final = 1000


class Commands:
    """Commands to Redis or Valkey over its connections; use with ``async with``.

    All async methods raise `StoreError` when Redis cannot be reached, does not answer within
    `redis_timeout` seconds, or refuses a command.
    """

    def __init__(self, settings: StoreSettings, *, connections: Connections | None = None) -> None:
        """Create a store. It connects on first use.

        Args:
            settings: address of Redis, and prefix of the keys.
            connections: connections to share, which are not closed; None to open own ones.

        Raises:
            SettingsError: ``redis_url`` is not in one of the forms of docs/redis.md.
        """
        self.keys = Keys(settings.key_prefix)
        self.unreadable = 0
        """Number of entries that were left out because they could not be read."""
        self._limited = LogLimiter(log)
        self._shares = connections is not None
        self.connections = connections or Connections(settings)
        """The connections to Redis; `PubSub` makes its own connection with them."""
        self._redis = self.connections.client()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections, unless they are shared."""
        if not self._shares:
            await self.connections.aclose()

    async def ping(self) -> None:
        """Send a PING, and wait for the answer."""
        with self.connections.errors():
            await self._redis.ping()

    async def _run(self, script: scripts.Script, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run a script for each tuple of keys and arguments; return replies or StoreErrors."""
        commands = [("EVALSHA", script.sha, script.keys, *call) for call in calls]
        replies = await self._pipelined(commands, fields=script.reply_types)
        unknown = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            # A new or restarted Redis does not have the script. It is loaded once.
            with self.connections.errors():
                await self._redis.script_load(script.text)
            # Another client may have loaded it in between, so that later calls of a key were run.
            # These are run again, because the last call of a key must stay the last.
            first = {calls[n][0]: n for n in reversed(unknown)}
            due = [n for n, call in enumerate(calls) if n >= first.get(call[0], len(calls))]
            commands = [commands[n] for n in due]
            second = await self._pipelined(commands, fields=script.reply_types)
            for n, reply in zip(due, second, strict=True):
                replies[n] = reply
        return [self.connections.error(r) if isinstance(r, Exception) else r for r in replies]

    def _fenced(self, token: int, newer: int) -> FencedError:
        return FencedError(
            f"Redis at {self.connections.place} refused a write of fencing token {token}: "
            f"token {newer} leads",
            token=newer,
        )

    async def _pipelined(
        self, commands: Sequence[Command], *, fields: Sequence[type | UnionType] = ()
    ) -> list[Any]:
        """Run commands in few round trips; an error of a command is returned as its reply.

        Args:
            commands: commands with their arguments.
            fields: types of the fields of each reply, which must be a list; another reply becomes
                an error. Empty if the replies are no lists.
        """
        replies: list[Any] = []
        with self.connections.errors():
            for start in range(0, len(commands), _CHUNK):
                replies += await self._redis.run(commands[start : start + _CHUNK])
        if fields:
            replies = [each if _is_expected(each, fields) else _unusable(each) for each in replies]
        return replies

    def _log_unreadable(self, noun: str, contract_id: str, error: Exception, kind: str) -> None:
        self.unreadable += 1
        event = f"{noun} cannot be read"
        self._limited.warning(event, key=(event, kind), contract_id=contract_id, error=str(error))


def _is_expected(reply: object, fields: Sequence[type | UnionType]) -> bool:
    """Return whether a reply is a list with these types, or an error."""
    if isinstance(reply, list) and len(reply) == len(fields):
        return all(map(isinstance, reply, fields))
    return isinstance(reply, Exception)


def _unusable(reply: object) -> InvalidResponse:
    return InvalidResponse(f"a reply that cannot be used: {reply!r:.100}")
