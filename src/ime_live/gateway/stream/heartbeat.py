"""Ping clients, and end those that do not answer, accept no data, or have an expired token.

One object watches all clients of a process, with dictionary entries instead of timers, and one tick
per second instead of a wake-up per client. The time is passed in, in seconds of any monotonic
clock. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from ime_live.errors import CloseCode, RefusedError

if TYPE_CHECKING:
    from ime_live.log_limiter import LogLimiter


class Peer(Protocol):
    """Interface of a client to the heartbeat."""

    def ping(self) -> None:
        """Send a ping."""

    def end(self, refusal: RefusedError) -> None:
        """Close the connection for this reason."""

    def drop(self) -> None:
        """Close the connection at once, and drop the client's unsent data."""


# The expiry of a token is checked at each tick only within this many ping intervals before it, so
# a token that is valid for days costs nothing until then.
_NEAR: Final = 2.0


class Heartbeat:
    """Pings all clients at intervals, and ends those that exceed a time limit."""

    def __init__(
        self, interval: float, timeout: float, slow_client_timeout: float, *, limited: LogLimiter
    ) -> None:
        """Make a heartbeat without clients.

        Args:
            interval: time between two pings of a client [s].
            timeout: time in which a client must answer a ping [s].
            slow_client_timeout: time for which a client may accept no data at all [s].
            limited: logs failures at a limited rate.
        """
        self._limited = limited
        self._interval = interval
        self._timeout = timeout
        self._slow_client_timeout = slow_client_timeout
        # Each of these dictionaries is in the order of its times, since a new entry is due last.
        self._next_pings: dict[Peer, float] = {}
        self._pong_deadlines: dict[Peer, float] = {}
        self._write_deadlines: dict[Peer, float] = {}
        self._expiries: dict[Peer, float] = {}
        self._near_expiry: set[Peer] = set()

    @property
    def resolution(self) -> float:
        """Interval at which `tick` should be called [s]."""
        return min(1.0, self._interval / 4, self._timeout / 4, self._slow_client_timeout / 4)

    def add(self, client: Peer, now: float, expires: float | None = None) -> None:
        """Watch a client.

        Args:
            client: the client.
            now: the present time [s].
            expires: when its token expires, on the same clock; None for never.
        """
        self._next_pings[client] = now + self._interval
        if expires is not None:
            self._expiries[client] = expires
            self._note_near_expiry(client, now)

    def remove(self, client: Peer) -> None:
        """Stop watching a client."""
        self._next_pings.pop(client, None)
        self._pong_deadlines.pop(client, None)
        self._write_deadlines.pop(client, None)
        self._expiries.pop(client, None)
        self._near_expiry.discard(client)

    def pong_received(self, client: Peer) -> None:
        """Note that a client has sent a pong."""
        self._pong_deadlines.pop(client, None)

    def pause(self, client: Peer, now: float) -> None:
        """Note that a client's transport is not writable."""
        self._write_deadlines.setdefault(client, now + self._slow_client_timeout)
        # A ping may wait behind other data, so the time for its pong would be unfair.
        self._pong_deadlines.pop(client, None)

    def resume(self, client: Peer) -> None:
        """Note that a client's transport is writable again."""
        self._write_deadlines.pop(client, None)

    def end_slowest(self, enough: Callable[[], bool]) -> int:
        """End clients that accept no data, the longest paused first, until enough is freed.

        Args:
            enough: returns whether enough memory is freed.

        Returns:
            The number of clients that were ended.
        """
        ended = 0
        for client in list(self._write_deadlines):
            if enough():
                break
            text = "too slow: too much data waits for slow clients"
            self._end(client, RefusedError(text, code=CloseCode.TRY_AGAIN_LATER, kind="too slow"))
            # Its unsent data would keep the memory until the client has read all of it.
            client.drop()
            ended += 1
        return ended

    def tick(self, now: float) -> None:
        """Send the pings that are due, and end clients that exceed a time limit."""
        for client in [client for client in self._near_expiry if self._expiries[client] <= now]:
            self._end(client, RefusedError("token expired"))
        for client in self._due_before(self._write_deadlines, now):
            self._end(
                client,
                RefusedError(
                    f"too slow: took no data for {self._slow_client_timeout:g} s",
                    code=CloseCode.TRY_AGAIN_LATER,
                    kind="too slow",
                ),
            )
        for client in self._due_before(self._pong_deadlines, now):
            self._end(
                client,
                RefusedError(
                    f"no answer to a ping within {self._timeout:g} s",
                    code=CloseCode.INTERNAL_ERROR,
                    kind="ping timeout",
                ),
            )
        for client in self._due_before(self._next_pings, now):
            if self._next_pings.pop(client, None) is None:
                continue  # removed while another client was pinged
            self._next_pings[client] = now + self._interval
            if client in self._expiries:
                self._note_near_expiry(client, now)
            # A paused client cannot accept a ping; another time limit applies to it.
            if client not in self._write_deadlines:
                self._pong_deadlines.setdefault(client, now + self._timeout)
                try:
                    client.ping()
                except Exception as error:  # noqa: BLE001 - it must not affect other clients
                    # The ping's timeout ends this client.
                    event = "ping failed"
                    self._limited.warning(
                        event, key=(event, type(error).__name__), error=repr(error)
                    )

    @staticmethod
    def _due_before(times: dict[Peer, float], now: float) -> list[Peer]:
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
        if client not in self._next_pings:
            return  # removed while another client was ended
        self.remove(client)
        try:
            client.end(refusal)
        except Exception as error:  # noqa: BLE001 - it must not affect other clients
            event = "stream cannot be closed"
            self._limited.warning(
                event, key=(event, type(error).__name__), reason=refusal.kind, error=repr(error)
            )
