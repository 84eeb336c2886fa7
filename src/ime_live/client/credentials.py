"""Credentials: the token that a client shows, and where a new one comes from.

A token, or a program's own function for one, comes in; the header's value goes out. The token is in
no text, neither here nor in an error.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

from ime_live.client.verdict import passes
from ime_live.errors import SettingsError

Token: TypeAlias = str | Callable[[], str | Awaitable[str]] | None
"""A token, or a function that gets one, plain or async; None where none is asked for."""

_PATIENCE: Final = 5.0  # seconds; caches of tokens and clocks are a second or two behind
_MOST_TIMES: Final = 20  # whatever the program has set as the longest wait


class Credentials:
    """A client's token; asked for when it is needed first, and again when it was refused.

    Several calls may share it: the function is asked once for all of them. What is said of a token
    comes with the headers that have shown it, since there may be another one by then.
    """

    def __init__(self, token: Token, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Take a token or a function.

        Args:
            token: see `Token`.
            monotonic: seconds.

        Raises:
            SettingsError: it cannot be a token.
        """
        self._source = token if callable(token) else None
        self._token: str | None = None if token is None or callable(token) else _checked(token)
        self._monotonic = monotonic
        self._fresh = False
        # Since when, and how often, tokens were refused for what may pass; nothing while they
        # were not.
        self._since: float | None = None
        self._times = 0
        self._lock: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return "<Credentials>"

    async def headers(self) -> dict[str, str]:
        """The header that shows the token; none without a token.

        Raises:
            Exception: whatever the program's function raises.
            SettingsError: what it returns cannot be a token.
        """
        if self._token is None and self._source is not None:
            async with self._lock_here():
                if self._token is None:  # nobody else has asked meanwhile
                    self._token = _checked(await _ask(self._source))
        return self._header()

    def accepted(self, shown: Mapping[str, str] | None = None) -> None:
        """The token of these headers is good; by default that is the one in use."""
        if self._is_in_use(shown):
            self._fresh, self._since, self._times = False, None, 0

    def refused(self, shown: Mapping[str, str] | None = None, reason: str = "") -> bool:
        """The token of these headers is not good; whether to try once more, after a wait.

        It is worth it if there is another token by now. It is, for some time, if the token has
        expired or is not valid yet: clocks differ, and where the program has it from may be
        behind. Otherwise a function is asked for a new one, but not twice in a row: if it gives
        the same bad token again, it must not be asked for ever.

        Args:
            shown: the headers; by default those in use.
            reason: what the service has said.
        """
        if not self._is_in_use(shown):
            return self._source is not None
        if self._source is not None:
            # In any case: whoever comes later must not be served with what was refused.
            self._token = None
        if passes(reason):
            now = self._monotonic()
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
        raise SettingsError(f"a token is a text, not {type(token).__name__}")
    token = token.strip()
    if not token:
        raise SettingsError("the token is empty")
    if not token.isascii() or not token.isprintable():
        raise SettingsError("the token has characters that no header can carry")
    return token
