"""Heartbeat: which client is to be pinged, and which one is gone, too slow or out of time.

One object watches all clients of a process: a dictionary entry each instead of timers each, and
a tick a second instead of a wake-up a client. Time is passed in, in seconds of any monotonic
clock; nothing here does I/O.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from ime_live.errors import CloseCode, RefusedError

if TYPE_CHECKING:
    from ime_live.log_limiter import LogLimiter


class Pulse(Protocol):
    """A client as the heartbeat sees it."""

    def ping(self) -> None:
        """Send a ping."""

    def end(self, refusal: RefusedError) -> None:
        """Close the connection for this reason."""


# A token's expiry is watched to the tick only when it is this many pings away, so that a
# connection whose token lives for days costs nothing for it.
_NEAR: Final = 2.0


class Heartbeat:
    """Pings every client in turn and ends those that do not answer, stall, or run out of time."""

    def __init__(
        self, interval: float, timeout: float, slow_client_timeout: float, *, limited: LogLimiter
    ) -> None:
        """Make a heartbeat without clients.

        Args:
            interval: seconds between two pings of a client.
            timeout: seconds within which a client answers a ping.
            slow_client_timeout: seconds that a client may take no data at all.
            limited: logs failures.
        """
        self._limited = limited
        self._interval = interval
        self._timeout = timeout
        self._unwritable_timeout = slow_client_timeout
        # Each dictionary is in the order of its times, since what is added is always due last.
        self._due: dict[Pulse, float] = {}
        self._awaited: dict[Pulse, float] = {}
        self._paused: dict[Pulse, float] = {}
        self._expiries: dict[Pulse, float] = {}
        self._near_expiry: set[Pulse] = set()

    @property
    def resolution(self) -> float:
        """How often `tick` wants to be called, in seconds."""
        return min(1.0, self._interval / 4, self._timeout / 4, self._unwritable_timeout / 4)

    def add(self, client: Pulse, now: float, expires: float | None = None) -> None:
        """Watch a client; ``expires`` is when its token does, on the same clock."""
        self._due[client] = now + self._interval
        if expires is not None:
            self._expiries[client] = expires
            self._note_near_expiry(client, now)

    def remove(self, client: Pulse) -> None:
        """Stop watching a client."""
        self._due.pop(client, None)
        self._awaited.pop(client, None)
        self._paused.pop(client, None)
        self._expiries.pop(client, None)
        self._near_expiry.discard(client)

    def answered(self, client: Pulse) -> None:
        """The client sent a pong."""
        self._awaited.pop(client, None)

    def pause(self, client: Pulse, now: float) -> None:
        """The client's transport is not writable."""
        self._paused.setdefault(client, now + self._unwritable_timeout)
        # It may have a ping before it that it cannot get at, so it is not blamed for the pong.
        self._awaited.pop(client, None)

    def resume(self, client: Pulse) -> None:
        """It is writable again."""
        self._paused.pop(client, None)

    def tick(self, now: float) -> None:
        """Do what is due: pings, and ends. Ended clients are no longer watched."""
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
                continue  # another one's ping has removed it
            self._due[client] = now + self._interval
            if client in self._expiries:
                self._note_near_expiry(client, now)
            # An unwritable client cannot take a ping; it has its own time limit.
            if client not in self._paused:
                self._awaited.setdefault(client, now + self._timeout)
                try:
                    client.ping()
                except Exception as error:  # noqa: BLE001 - one client's failure is its own
                    # It will not answer, and so it is ended in its time.
                    event = "ping failed"
                    self._limited.warning(
                        event, key=(event, type(error).__name__), error=repr(error)
                    )

    @staticmethod
    def _until(times: dict[Pulse, float], now: float) -> list[Pulse]:
        clients = []
        for client, time in times.items():
            if time > now:
                break
            clients.append(client)
        return clients

    def _note_near_expiry(self, client: Pulse, now: float) -> None:
        if self._expiries[client] - now <= _NEAR * self._interval:
            self._near_expiry.add(client)

    def _end(self, client: Pulse, refusal: RefusedError) -> None:
        if client not in self._due:
            return  # another one's end has removed it
        self.remove(client)
        try:
            client.end(refusal)
        except Exception as error:  # noqa: BLE001 - one client's failure is its own
            event = "closing failed"
            self._limited.warning(
                event, key=(event, type(error).__name__), reason=refusal.kind, error=repr(error)
            )
