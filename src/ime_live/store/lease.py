"""Lease: which of several feeds leads, and its status, in Redis or Valkey.

The lease expires by the server's clock unless it is renewed, so gateways need not compare clocks to
know that a feed is gone. Each leadership has a fencing token greater than all before it (Martin
Kleppmann, "How to do distributed locking", 2016). Every write of the leader carries it, and the
store refuses older tokens. So a former leader with delayed commands cannot overwrite the data of
its successor.
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
    """Result of asking for the lease.

    Attributes:
        leads: whether this feed has the lease now.
        token: fencing token of the leader; 0 if the leader is a feed without tokens.
        anew: whether this feed did not have it before with this token, so that the states in the
            store may be those of another feed.
    """

    leads: bool
    token: int
    anew: bool


class Lease(Commands):
    """The lease, as one feed or gateway uses it: ``async with Lease(settings)``.

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
            holder: name of this feed, different for each feed; a gateway needs none.
            program: the program that the lease is for: `FEED`, or `BARS` for the one that writes
                bars.
            connections: connections to use and to leave open; None opens its own.

        Raises:
            SettingsError: ``redis_url`` is not in one of the forms of docs/redis.md.
        """
        super().__init__(settings, connections=connections)
        self.holder = holder
        keys = self.keys
        self._lease, self._status = (
            (keys.bars_lease, keys.bars_status) if program == BARS else (keys.feed, keys.status)
        )
        self._unreadable: tuple[str, int] | None = None
        """A status that could not be read, and when it was first noticed."""
        self._seen = 0
        """The greatest known fencing token."""

    async def take(self) -> LeaseState:
        """Take the lease for `LEASE` seconds if no other feed holds it, or renew it."""
        ours, token, anew = await self._answer(
            scripts.TAKE_LEASE, self._lease, self.holder, round(LEASE * 1000), self._seen
        )
        self.note(token)
        return LeaseState(leads=bool(ours), token=token, anew=bool(anew))

    def note(self, token: int) -> None:
        """Note a fencing token, so that the next leadership has a greater one.

        Call it with the token of a `ime_live.errors.FencedError`. Then tokens grow even if the
        store is emptied, or replaced by a server with a slower clock.
        """
        self._seen = max(self._seen, token)

    async def release(self) -> None:
        """Give up the lease at once, if this feed has it."""
        await self._answer(scripts.RELEASE_LEASE, self._lease, self.holder)

    async def write(self, status: FeedStatus) -> None:
        """Write the status of the feed; only the leader may.

        Raises:
            FencedError: a feed with a newer token has written its status.
        """
        [newer] = await self._answer(
            scripts.WRITE_STATUS, self._status, status.to_json(), status.token
        )
        if newer:
            raise FencedError(
                f"the feed's status was not written: token {newer} leads, and not {status.token}",
                token=newer,
            )

    async def read(self) -> tuple[FeedStatus | None, bool]:
        """Return the last status, and whether there is a leader now.

        The status is None if none was ever written. If it cannot be read, the feed counts as down.
        """
        raw, led = await self._pipelined([("GET", self._status), ("EXISTS", self._lease)])
        for reply in (raw, led):
            if isinstance(reply, Exception) and not is_bad_data(reply):
                raise self.connections.error(reply)
        if not isinstance(raw, bytes | Exception | None):
            raise StoreError(
                f"Redis at {self.connections.place}: a reply that is not text: {raw!r}"
            )
        if raw is None:
            return None, bool(led)
        reason = str(raw)
        if not isinstance(raw, Exception):
            try:
                return read_status(raw), bool(led)
            except FeedError as error:
                reason = str(error)
        self._limited.warning(UNREADABLE, key=UNREADABLE, error=reason)
        if self._unreadable is None or self._unreadable[0] != str(raw):
            self._unreadable = str(raw), SYSTEM_CLOCK.time_us()
        return FeedStatus(FeedState.DOWN, self._unreadable[1], error=UNREADABLE), bool(led)

    async def _answer(self, script: scripts.Script, *call: Any) -> list[int]:  # noqa: ANN401
        [reply] = await self._run(script, [call])
        if isinstance(reply, StoreError):
            raise reply
        answer: list[int] = reply
        return answer
