"""Commands: how Redis is asked, in few round trips and with scripts that are loaded when needed."""

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
from ime_live.store.connections import Connections
from ime_live.store.keys import Keys

log = structlog.get_logger()

# Commands of one round trip: some 800 KB of states, a few milliseconds of the server's time.
_CHUNK: Final = 1000


class Commands:
    """Connections to Redis or Valkey and commands over them; use with ``async with``.

    All methods that wait raise `StoreError` when Redis cannot be reached, does not answer within
    `redis_timeout` seconds, or refuses.
    """

    def __init__(self, settings: StoreSettings, *, connections: Connections | None = None) -> None:
        """Make a store; nothing is connected before it is used.

        Args:
            settings: where Redis is, and what its keys begin with.
            connections: to use, and to leave open; by default its own.

        Raises:
            SettingsError: ``redis_url`` is none of the forms in docs/redis.md.
        """
        self.keys = Keys(settings.key_prefix)
        self.unreadable = 0
        """Last states and contracts that were left out because they could not be read."""
        self._limited = LogLimiter(log)
        self._shares = connections is not None
        self.connections = connections or Connections(settings)
        """How Redis is reached; the subscriber makes its own connection with it."""
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
        """Return if Redis answers."""
        with self.connections.errors():
            await self._redis.ping()

    async def _run(self, script: scripts.Script, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Run a script for each (key, arguments …); its answers or StoreErrors."""
        commands = [("EVALSHA", script.sha, 1, *call) for call in calls]
        replies = await self._pipelined(commands, fields=script.answer)
        unknown = [n for n, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            # A new or restarted Redis. The script is sent once, and not with every batch.
            with self.connections.errors():
                await self._redis.script_load(script.text)
            # Somebody else may have loaded it meanwhile, so that later calls of a key were run: the
            # last one has to stay the last.
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
        self, commands: Sequence[tuple[Any, ...]], *, fields: Sequence[type | UnionType] = ()
    ) -> list[Any]:
        """Run commands in few round trips; a command's error is its reply.

        Args:
            commands: with their arguments.
            fields: types of what is in the list that each replies with; any other reply is an
                error. Empty if they do not reply with lists.
        """
        replies: list[Any] = []
        with self.connections.errors():
            for start in range(0, len(commands), _CHUNK):
                async with self._redis.pipeline(transaction=False) as pipe:
                    for command in commands[start : start + _CHUNK]:
                        pipe.execute_command(*command)
                    replies += await pipe.execute(raise_on_error=False)
        if fields:
            replies = [each if _has(each, fields) else _unusable(each) for each in replies]
        return replies

    def _leave_out(self, what: str, contract_id: str, error: Exception, kind: str) -> None:
        self.unreadable += 1
        event = f"{what} cannot be read"
        self._limited.warning(event, key=(event, kind), contract_id=contract_id, error=str(error))


def _has(reply: object, fields: Sequence[type | UnionType]) -> bool:
    """Whether a reply is a list of these types, or an error."""
    if isinstance(reply, list) and len(reply) == len(fields):
        return all(map(isinstance, reply, fields))
    return isinstance(reply, Exception)


def _unusable(reply: object) -> InvalidResponse:
    return InvalidResponse(f"a reply that cannot be used: {reply!r:.100}")
