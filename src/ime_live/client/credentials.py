"""Credentials: the token that a client shows, and where a new one comes from.

A token, or a program's own function for one, comes in; the header's value goes out. The token is in
no text, neither here nor in an error.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from ime_live.errors import SettingsError

Token: TypeAlias = str | Callable[[], str | Awaitable[str]] | None
"""A token, or a function that gets one, plain or async; None where none is asked for."""


class Credentials:
    """A client's token; asked for when it is needed first, and again when it was refused."""

    def __init__(self, token: Token) -> None:
        """Take a token or a function.

        Raises:
            SettingsError: it cannot be a token.
        """
        self._source = token if callable(token) else None
        self._token: str | None = None if callable(token) else _checked(token)
        self._fresh = False

    def __repr__(self) -> str:
        return "<Credentials>"

    async def headers(self) -> dict[str, str]:
        """The header that shows the token; none without a token.

        Raises:
            Exception: whatever the program's function raises.
            SettingsError: what it returns cannot be a token.
        """
        if self._token is None and self._source is not None:
            self._token = _checked(await _ask(self._source))
        if self._token is None:
            return {}
        whole = self._token.lower().startswith("bearer ")
        return {"Authorization": self._token if whole else f"Bearer {self._token}"}

    def accepted(self) -> None:
        """The token in use is good."""
        self._fresh = False

    def refused(self) -> bool:
        """The token in use is not good; whether it is worth trying with a new one.

        It is not twice in a row: a function that gives the same bad token again must not be asked
        for ever.
        """
        if self._source is None or self._fresh:
            return False
        self._token, self._fresh = None, True
        return True


async def _ask(source: Callable[[], str | Awaitable[str]]) -> str:
    # In a thread, since it may well fetch the token and wait.
    made: str | Awaitable[str]
    is_async = inspect.iscoroutinefunction(source)
    made = source() if is_async else await asyncio.to_thread(lambda: source())
    return made if isinstance(made, str) else await made


def _checked(token: str | None) -> str | None:
    if token is None:
        return None
    if not isinstance(token, str):
        raise SettingsError(f"a token is a text, not {type(token).__name__}")
    token = token.strip()
    if not token:
        raise SettingsError("the token is empty")
    if not token.isascii() or not token.isprintable():
        raise SettingsError("the token has characters that no header can carry")
    return token
