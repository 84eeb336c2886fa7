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

_GRACE: Final = 5.0  # seconds; clocks and caches of tokens are a second or two behind
_MAX_REFUSALS: Final = 20  # for programs with a very short wait between two attempts


class Credentials:
    """The token of a client, fetched on first use and again when it is refused.

    Several calls may share it: the function is called once for all of them. `note_accepted` and
    `note_refused` take the headers that were sent, because there may be another token by then.
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
        self._refused_since: float | None = None
        self._refusals = 0
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
                    self._token = _checked(await _call_source(self._source), returned=True)
        return self._header()

    def note_accepted(self, headers: Mapping[str, str] | None = None) -> None:
        """Note that the token in these headers was accepted; None means the headers in use."""
        if self._is_in_use(headers):
            self._fresh, self._refused_since, self._refusals = False, None, 0

    def note_refused(self, headers: Mapping[str, str] | None = None, reason: str = "") -> bool:
        """Note that the token in these headers was refused.

        Another attempt makes sense if there is another token by now. It also does, for a few
        seconds, if the token has expired or is not valid yet: clocks differ, and the token's source
        may be behind. In other cases the function is called for a new token, but not twice in a
        row, so that a function with a bad token is not called forever.

        Args:
            headers: the headers that were sent; None means those in use.
            reason: the service's reason.

        Returns:
            Whether to try again after a wait.
        """
        if not self._is_in_use(headers):
            return self._source is not None
        if self._source is not None:
            # Always, because a later call must not use the refused token.
            self._token = None
        if is_temporary(reason):
            now = self._clock.monotonic()
            self._refused_since = now if self._refused_since is None else self._refused_since
            self._refusals += 1
            return now - self._refused_since < _GRACE and self._refusals < _MAX_REFUSALS
        renew, self._fresh = not self._fresh, True
        return renew and self._source is not None

    def _header(self) -> dict[str, str]:
        if self._token is None:
            return {}
        has_scheme = self._token.lower().startswith("bearer ")
        return {"Authorization": self._token if has_scheme else f"Bearer {self._token}"}

    def _is_in_use(self, headers: Mapping[str, str] | None) -> bool:
        return headers is None or headers == self._header()

    def _lock_here(self) -> asyncio.Lock:
        # A lock belongs to one loop, and a program may call asyncio.run() more than once.
        loop = asyncio.get_running_loop()
        if self._lock is None or self._loop is not loop:
            self._lock, self._loop = asyncio.Lock(), loop
        return self._lock


async def _call_source(source: Callable[[], str | Awaitable[str]]) -> object:
    # In a thread, because a plain function may block while it fetches the token.
    token: object
    is_async = inspect.iscoroutinefunction(source)
    token = source() if is_async else await asyncio.to_thread(lambda: source())
    return await token if inspect.isawaitable(token) else token


def _checked(token: object, *, returned: bool = False) -> str:
    name = "the result of the token's function" if returned else "a token"
    if not isinstance(token, str):
        allowed = "a text" if returned else "a text, a function that returns one, or None"
        raise SettingsError(f"{name} must be {allowed}, got {type(token).__name__}")
    token = token.strip()
    if not token:
        # None reads the variable, so it means no token only without one.
        advice = "" if returned else "; for no token, pass None and do not set IME_LIVE_TOKEN"
        raise SettingsError(f"{name} must not be empty, got ''{advice}")
    if not token.isascii() or not token.isprintable():
        raise SettingsError(f"{name} must be printable ASCII, got characters no header can carry")
    return token
