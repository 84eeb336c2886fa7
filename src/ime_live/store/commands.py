"""Commands to Redis: pipelines with few round trips, and scripts that are loaded on demand."""

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

# Commands per round trip: about 800 KB of states, a few milliseconds of the server's time.
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
            connections: connections to use and to leave open; None opens its own.

        Raises:
            SettingsError: ``redis_url`` is not in one of the forms of docs/redis.md.
        """
        self.keys = Keys(settings.key_prefix)
        self.unreadable = 0
        """Number of last states and contracts left out because they could not be read."""
        self._limited = LogLimiter(log)
        self._shares = connections is not None
        self.connections = connections or Connections(settings)
        """The connections to Redis; the subscriber makes its own with them."""
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
        """Close its own connections."""
        if not self._shares:
            await self.connections.aclose()

    async def ping(self) -> None:
        """Wait until Redis has answered."""
        with self.connections.errors():
            await self._redis.ping()

    async def _run(self, script: scripts.Script, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run a script for each (key …, argument …), and return answers or StoreErrors."""
        commands = [("EVALSHA", script.sha, script.keys, *call) for call in calls]
        replies = await self._pipelined(commands, fields=script.answer)
        unknown = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            # A new or restarted Redis. The script is sent once, not with every batch.
            with self.connections.errors():
                await self._redis.script_load(script.text)
            # Another client may have loaded it meanwhile, so that later calls of a key were run.
            # The last call of a key must stay the last.
            first = {calls[n][0]: n for n in reversed(unknown)}
            due = [n for n, call in enumerate(calls) if n >= first.get(call[0], len(calls))]
            again = await self._pipelined([commands[n] for n in due], fields=script.answer)
            for n, reply in zip(due, again, strict=True):
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
        """Run commands in few round trips; a command's error is its reply.

        Args:
            commands: commands with their arguments.
            fields: types of the fields in each reply's list; any other reply is an error. Empty if
                the replies are no lists.
        """
        replies: list[Any] = []
        with self.connections.errors():
            for start in range(0, len(commands), _CHUNK):
                replies += await self._redis.run(commands[start : start + _CHUNK])
        if fields:
            replies = [each if _has(each, fields) else _unusable(each) for each in replies]
        return replies

    def _leave_out(self, what: str, contract_id: str, error: Exception, kind: str) -> None:
        self.unreadable += 1
        event = f"{what} cannot be read"
        self._limited.warning(event, key=(event, kind), contract_id=contract_id, error=str(error))


def _has(reply: object, fields: Sequence[type | UnionType]) -> bool:
    """Return whether a reply is a list of these types, or an error."""
    if isinstance(reply, list) and len(reply) == len(fields):
        return all(map(isinstance, reply, fields))
    return isinstance(reply, Exception)


def _unusable(reply: object) -> InvalidResponse:
    return InvalidResponse(f"a reply that cannot be used: {reply!r:.100}")
