"""Ping clients, and end those that do not answer, take no data, or have an expired token.

One object watches all clients of a process, with a dictionary entry per client instead of timers,
and one tick per second instead of a wake-up per client. The time is passed in, in seconds of any
monotonic clock. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from ime_live.errors import CloseCode, RefusedError

if TYPE_CHECKING:
    from ime_live.log_limiter import LogLimiter


class Peer(Protocol):
    """A client as the heartbeat sees it."""

    def ping(self) -> None:
        """Send a ping."""

    def end(self, refusal: RefusedError) -> None:
        """Close the connection for this reason."""

    def drop(self) -> None:
        """Close the connection at once, and drop the client's unsent data."""


# A token's expiry is checked at each tick only when it is at most this many pings away, so that a
# connection whose token lives for days costs nothing for it.
_NEAR: Final = 2.0


class Heartbeat:
    """Pings every client in turn, and ends those that have run out of time."""

    def __init__(
        self, interval: float, timeout: float, slow_client_timeout: float, *, limited: LogLimiter
    ) -> None:
        """Make a heartbeat without clients.

        Args:
            interval: time between two pings of a client [s].
            timeout: time in which a client must answer a ping [s].
            slow_client_timeout: time for which a client may take no data at all [s].
            limited: logs failures.
        """
        self._limited = limited
        self._interval = interval
        self._timeout = timeout
        self._unwritable_timeout = slow_client_timeout
        # Each dictionary is in the order of its times, since a new entry is always due last.
        self._due: dict[Peer, float] = {}
        self._awaited: dict[Peer, float] = {}
        self._paused: dict[Peer, float] = {}
        self._expiries: dict[Peer, float] = {}
        self._near_expiry: set[Peer] = set()

    @property
    def resolution(self) -> float:
        """How often `tick` should be called [s]."""
        return min(1.0, self._interval / 4, self._timeout / 4, self._unwritable_timeout / 4)

    def add(self, client: Peer, now: float, expires: float | None = None) -> None:
        """Watch a client; ``expires`` is when its token expires, on the same clock."""
        self._due[client] = now + self._interval
        if expires is not None:
            self._expiries[client] = expires
            self._note_near_expiry(client, now)

    def remove(self, client: Peer) -> None:
        """Stop watching a client."""
        self._due.pop(client, None)
        self._awaited.pop(client, None)
        self._paused.pop(client, None)
        self._expiries.pop(client, None)
        self._near_expiry.discard(client)

    def answered(self, client: Peer) -> None:
        """Note that the client has sent a pong."""
        self._awaited.pop(client, None)

    def pause(self, client: Peer, now: float) -> None:
        """Note that the client's transport is not writable."""
        self._paused.setdefault(client, now + self._unwritable_timeout)
        # A ping may wait behind other data, so a missing pong is not its fault.
        self._awaited.pop(client, None)

    def resume(self, client: Peer) -> None:
        """Note that the client's transport is writable again."""
        self._paused.pop(client, None)

    def end_slowest(self, enough: Callable[[], bool]) -> int:
        """End clients that take no data, the longest waiting first, until enough is freed.

        Args:
            enough: whether what still waits for the others may wait.

        Returns:
            How many were ended.
        """
        ended = 0
        for client in list(self._paused):
            if enough():
                break
            text = "too slow: too much data waits for slow clients"
            self._end(client, RefusedError(text, code=CloseCode.TRY_AGAIN_LATER, kind="too slow"))
            # It would read the reason only after all its unsent data.
            client.drop()
            ended += 1
        return ended

    def tick(self, now: float) -> None:
        """Send the pings that are due, and end clients that are out of time."""
        for client in [client for client in self._near_expiry if self._expiries[client] <= now]:
            self._end(client, RefusedError("token expired"))
        for client in self._until(self._paused, now):
            self._end(
                client,
                RefusedError(
                    f"too slow: took no data for {self._unwritable_timeout:g} s",
                    code=CloseCode.TRY_AGAIN_LATER,
                    kind="too slow",
                ),
            )
        for client in self._until(self._awaited, now):
            self._end(
                client,
                RefusedError(
                    f"no answer to a ping within {self._timeout:g} s",
                    code=CloseCode.INTERNAL_ERROR,
                    kind="ping timeout",
                ),
            )
        for client in self._until(self._due, now):
            if self._due.pop(client, None) is None:
                continue  # the ping of another client has removed it
            self._due[client] = now + self._interval
            if client in self._expiries:
                self._note_near_expiry(client, now)
            # An unwritable client cannot take a ping; it has its own time limit.
            if client not in self._paused:
                self._awaited.setdefault(client, now + self._timeout)
                try:
                    client.ping()
                except Exception as error:  # noqa: BLE001 - one client's failure is its own
                    # It will not answer, so the timeout ends it.
                    event = "ping failed"
                    self._limited.warning(
                        event, key=(event, type(error).__name__), error=repr(error)
                    )

    @staticmethod
    def _until(times: dict[Peer, float], now: float) -> list[Peer]:
        clients = []
        for client, time in times.items():
            if time > now:
                break
            clients.append(client)
        return clients

    def _note_near_expiry(self, client: Peer, now: float) -> None:
        if self._expiries[client] - now <= _NEAR * self._interval:
            self._near_expiry.add(client)

    def _end(self, client: Peer, refusal: RefusedError) -> None:
        if client not in self._due:
            return  # the end of another client has removed it
        self.remove(client)
        try:
            client.end(refusal)
        except Exception as error:  # noqa: BLE001 - one client's failure is its own
            event = "closing failed"
            self._limited.warning(
                event, key=(event, type(error).__name__), reason=refusal.kind, error=repr(error)
            )
