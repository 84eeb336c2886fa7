"""Credentials: the client's token, and how it is renewed.

No error and no log line contains the token.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from ime_live.client.protocol.close_reason import is_temporary
from ime_live.clock import SYSTEM_CLOCK, Clock
from ime_live.errors import SettingsError

Token: TypeAlias = str | Callable[[], str | Awaitable[str]] | None
"""A token, or a function, plain or async, that returns one; None for no token."""

_PATIENCE: Final = 5.0  # seconds; clocks and caches of tokens are a second or two behind
_MOST_TIMES: Final = 20  # for programs with a very short wait between two attempts


class Credentials:
    """The token of a client, fetched on first use and again when it is refused.

    Several calls may share it: the function is called once for all of them. `accepted` and
    `refused` take the headers that were sent, because there may be another token by then.
    """

    def __init__(self, token: Token, *, clock: Clock = SYSTEM_CLOCK) -> None:
        """Create credentials.

        Args:
            token: see `Token`.
            clock: the machine's clock.

        Raises:
            SettingsError: ``token`` cannot be a token.
        """
        self._source = token if callable(token) else None
        self._token: str | None = None if token is None or callable(token) else _checked(token)
        self._clock = clock
        self._fresh = False
        # When tokens were first refused for a reason that may pass, and how many times since.
        self._since: float | None = None
        self._times = 0
        self._lock: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return "<Credentials>"

    async def headers(self) -> dict[str, str]:
        """Return the header with the token; empty without a token.

        Raises:
            Exception: the program's function raised it.
            SettingsError: the function's result cannot be a token.
        """
        if self._token is None and self._source is not None:
            async with self._lock_here():
                if self._token is None:  # no other call has fetched it meanwhile
                    self._token = _checked(await _ask(self._source))
        return self._header()

    def accepted(self, shown: Mapping[str, str] | None = None) -> None:
        """Note that the token in these headers was accepted; None is the one in use."""
        if self._is_in_use(shown):
            self._fresh, self._since, self._times = False, None, 0

    def refused(self, shown: Mapping[str, str] | None = None, reason: str = "") -> bool:
        """Note that the token in these headers was refused.

        Another attempt makes sense if there is another token by now. It also does, for a few
        seconds, if the token has expired or is not valid yet: clocks differ, and the token's source
        may be behind. In other cases the function is called for a new token, but not twice in a
        row, so that a function with a bad token is not called forever.

        Args:
            shown: the headers; None is those in use.
            reason: the service's reason.

        Returns:
            Whether to try again after a wait.
        """
        if not self._is_in_use(shown):
            return self._source is not None
        if self._source is not None:
            # Always, because a later call must not use the refused token.
            self._token = None
        if is_temporary(reason):
            now = self._clock.monotonic()
            self._since = now if self._since is None else self._since
            self._times += 1
            return now - self._since < _PATIENCE and self._times < _MOST_TIMES
        worth, self._fresh = not self._fresh, True
        return worth and self._source is not None

    def _header(self) -> dict[str, str]:
        if self._token is None:
            return {}
        whole = self._token.lower().startswith("bearer ")
        return {"Authorization": self._token if whole else f"Bearer {self._token}"}

    def _is_in_use(self, shown: Mapping[str, str] | None) -> bool:
        return shown is None or shown == self._header()

    def _lock_here(self) -> asyncio.Lock:
        # A lock belongs to one loop, and a program may call asyncio.run() more than once.
        loop = asyncio.get_running_loop()
        if self._lock is None or self._loop is not loop:
            self._lock, self._loop = asyncio.Lock(), loop
        return self._lock


async def _ask(source: Callable[[], str | Awaitable[str]]) -> object:
    # In a thread, since it may well fetch the token and wait.
    made: object
    is_async = inspect.iscoroutinefunction(source)
    made = source() if is_async else await asyncio.to_thread(lambda: source())
    return await made if inspect.isawaitable(made) else made


def _checked(token: object) -> str:
    if not isinstance(token, str):
        raise SettingsError(f"a token must be a text, got {type(token).__name__}")
    token = token.strip()
    if not token:
        raise SettingsError("a token must not be empty, got ''; pass None for no token")
    if not token.isascii() or not token.isprintable():
        raise SettingsError("a token must be printable ASCII, got characters no header can carry")
    return token
