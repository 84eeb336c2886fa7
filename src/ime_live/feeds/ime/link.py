"""Link: the interface of a source of frames, and the state of its connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from msgspec import Struct

HearDate = Callable[[float, float, float], None]
"""Takes the ``Date`` of an answer, when it was asked for, and when it had come: all in seconds
since the Unix epoch, the last two by the machine's clock."""


def ignore_date(date: float, sent: float, received: float) -> None:
    """Take it, and make nothing of it."""
    del date, sent, received


class Link(Struct, frozen=True):
    """The state of the connection to the exchange.

    Attributes:
        source: ``webSockets``, ``serverSentEvents``, ``longPolling`` or ``polling``; empty while
            there is no connection.
        since: when this state began, in seconds since the Unix epoch.
        error: why there is no connection, or not one of the best kind; None if all is well.
    """

    source: str = ""
    since: float = 0.0
    error: str | None = None


class Source(Protocol):
    """A source of frames."""

    @property
    def link(self) -> Link:
        """How they come now."""

    def frames(self) -> AsyncGenerator[bytes, None]:
        """The frames as they come: whole JSON objects as the hub sends them, no keep-alives.

        Endless: it connects again by itself after whatever happens. To close the generator ends
        the connection in good order.

        Raises:
            SettingsError: it cannot work with these settings, however often it is tried.
        """
