"""Frame source: the interface of a source of frames, and the state of its connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from msgspec import Struct

OnDate = Callable[[float, float, float], None]
"""Called with the ``Date`` of an answer, and when the request was sent and the answer received: all
in seconds since the Unix epoch, the last two by the machine's clock."""


def ignore_date(date: float, sent: float, received: float) -> None:
    """Ignore the times."""
    del date, sent, received


class ConnectionState(Struct, frozen=True):
    """The state of the connection to the exchange.

    Attributes:
        source: ``webSockets``, ``serverSentEvents``, ``longPolling`` or ``polling``; empty while
            there is no connection.
        since: when this state began, in seconds since the Unix epoch.
        error: why there is no connection, or not the best transport; None without a problem.
    """

    source: str = ""
    since: float = 0.0
    error: str | None = None


class Source(Protocol):
    """A source of frames."""

    @property
    def connection_state(self) -> ConnectionState:
        """The present state of the connection."""

    def frames(self) -> AsyncGenerator[bytes, None]:
        """Yield frames as they arrive: complete JSON of the SignalR hub, without keep-alives.

        It never ends, and reconnects by itself after every fault. Closing the generator closes the
        connection cleanly.

        Raises:
            SettingsError: the settings cannot be used.
        """
