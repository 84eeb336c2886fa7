"""Lease of the leading feed, and the feed's status, in Redis or Valkey.

The lease expires by the server's clock unless it is renewed, so gateways notice the end of a feed
without comparing clocks. Each leadership has a fencing token that is greater than all earlier ones
(Martin Kleppmann, "How to do distributed locking", 2016). Each write of the leader carries the
token, and the store refuses older tokens. So a former leader with delayed commands cannot overwrite
the data of its successor.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from ime_live.clock import SYSTEM_CLOCK
from ime_live.errors import FeedError, FencedError, StoreError
from ime_live.settings import StoreSettings
from ime_live.status import FeedState, FeedStatus, read_status
from ime_live.store import scripts
from ime_live.store.commands import Commands
from ime_live.store.network.connections import Connections
from ime_live.store.records import is_bad_data

LEASE: Final = 3.0
"""Seconds after which a lease expires unless it is renewed."""

FEED: Final = "feed"
BARS: Final = "bars"

UNREADABLE: Final = "the feed's status cannot be read"


class LeaseState(Struct, frozen=True):
    """Result of `Lease.take`.

    Attributes:
        leads: whether this feed has the lease now.
        token: fencing token of the leader; 0 if the leader is a feed without tokens.
        anew: whether this leadership is new, so that another feed may have written the states in
            the store.
    """

    leads: bool
    token: int
    anew: bool


class Lease(Commands):
    """The lease, for a feed or a gateway; use as ``async with Lease(settings)``.

    All async methods raise `StoreError` when Redis cannot be reached or refuses a command.
    """

    def __init__(
        self,
        settings: StoreSettings,
        holder: str = "",
        *,
        program: str = FEED,
        connections: Connections | None = None,
    ) -> None:
        """Create a lease object. It connects on first use.

        Args:
            settings: address of Redis.
            holder: unique name of this feed; empty for a gateway.
            program: the program of the lease: `FEED`, or `BARS` for the bar aggregator.
            connections: connections to share, which are not closed; None to open own ones.

        Raises:
            SettingsError: ``redis_url`` is not in one of the forms of docs/redis.md.
        """
        super().__init__(settings, connections=connections)
        self.holder = holder
        keys = self.keys
        self._lease_key, self._status_key = (
            (keys.bars_lease, keys.bars_status) if program == BARS else (keys.feed, keys.status)
        )
        self._unreadable: tuple[str, int] | None = None
        """A status that could not be read, and when this was noticed [microseconds]."""
        self._newest_token = 0
        """The greatest known fencing token."""

    async def take(self) -> LeaseState:
        """Take the lease for `LEASE` seconds if no other feed holds it, or renew it."""
        leads, token, anew = await self._run_script(
            scripts.TAKE_LEASE,
            self._lease_key,
            self.holder,
            round(LEASE * 1000),
            self._newest_token,
        )
        self.note(token)
        return LeaseState(leads=bool(leads), token=token, anew=bool(anew))

    def note(self, token: int) -> None:
        """Note a fencing token, so that the next leadership has a greater one.

        Call this with the token of an `ime_live.errors.FencedError`. Then tokens grow even if the
        store loses its data, or is replaced by a server whose clock is behind.
        """
        self._newest_token = max(self._newest_token, token)

    async def release(self) -> None:
        """Release the lease; nothing happens if this feed does not have it."""
        await self._run_script(scripts.RELEASE_LEASE, self._lease_key, self.holder)

    async def write(self, status: FeedStatus) -> None:
        """Write the status of the feed, which must be the leader.

        Raises:
            FencedError: a feed with a newer token has written its status.
        """
        [newer] = await self._run_script(
            scripts.WRITE_STATUS, self._status_key, status.to_json(), status.token
        )
        if newer:
            raise FencedError(
                f"the feed's status was not written: token {newer} leads, and not {status.token}",
                token=newer,
            )

    async def read(self) -> tuple[FeedStatus | None, bool]:
        """Return the last status, and whether there is a leader now.

        The status is None if none was ever written. If it cannot be read, its state is down.
        """
        text, has_leader = await self._pipelined(
            [("GET", self._status_key), ("EXISTS", self._lease_key)]
        )
        for reply in (text, has_leader):
            if isinstance(reply, Exception) and not is_bad_data(reply):
                raise self.connections.error(reply)
        if not isinstance(text, bytes | Exception | None):
            raise StoreError(
                f"Redis at {self.connections.place}: a reply that is not text: {text!r}"
            )
        if text is None:
            return None, bool(has_leader)
        reason = str(text)
        if not isinstance(text, Exception):
            try:
                return read_status(text), bool(has_leader)
            except FeedError as error:
                reason = str(error)
        self._limited.warning(UNREADABLE, key=UNREADABLE, error=reason)
        if self._unreadable is None or self._unreadable[0] != str(text):
            self._unreadable = str(text), SYSTEM_CLOCK.time_us()
        status = FeedStatus(FeedState.DOWN, self._unreadable[1], error=UNREADABLE)
        return status, bool(has_leader)

    async def _run_script(self, script: scripts.Script, *call: Any) -> list[int]:  # noqa: ANN401
        [reply] = await self._run(script, [call])
        if isinstance(reply, StoreError):
            raise reply
        numbers: list[int] = reply
        return numbers
