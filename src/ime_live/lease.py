"""Lease: which of several feeds leads, and what it says of itself, in Redis or Valkey.

A feed's name and its status come in; whether it leads, and the status of the one that does, go
out. The lease ends by the server's clock when nobody renews it, so gateways need not compare
clocks to know that a feed is gone.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Self

import structlog
from msgspec import Struct

from ime_live.connections import Connections
from ime_live.errors import FeedError
from ime_live.settings import StoreSettings
from ime_live.status import FeedStatus, read_status
from ime_live.store import Keys

log = structlog.get_logger()

LEASE: Final = 3.0
"""Seconds after which a leader that has not renewed its lease leads no more."""

# KEYS[1] the lease; ARGV: the holder, milliseconds. Answers 2 taken, 1 renewed, 0 held by another.
_TAKE: Final = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return holder and 1 or 2
"""

# KEYS[1] the lease; ARGV: the holder.
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0
"""


class Holding(Struct, frozen=True):
    """What came of asking for the lease.

    Attributes:
        leads: whether the lease is ours now.
        anew: whether it was not ours before: what the store holds is not known to be ours.
    """

    leads: bool
    anew: bool


class Lease:
    """One feed's, or one gateway's, view of the lease; use as ``async with Lease(settings)``.

    All methods that wait raise `StoreError` when Redis cannot be reached or refuses.
    """

    def __init__(self, settings: StoreSettings, holder: str = "") -> None:
        """Look at the lease; nothing is connected before it is used.

        Args:
            settings: where Redis is.
            holder: who we are, different for each feed; a gateway needs none.

        Raises:
            SettingsError: ``redis_url`` is not a URL of Redis.
        """
        self.holder = holder
        keys = Keys(settings.key_prefix)
        self._lease, self._status = keys.feed, keys.status
        self._connections = Connections(settings)
        self._redis: Any = self._connections.client()
        self._unreadable: bytes | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; the lease runs out by itself."""
        await self._connections.aclose()

    async def take(self) -> Holding:
        """Take the lease for `LEASE` seconds if nobody else holds it, or renew it."""
        with self._connections.errors():
            answer = await self._redis.eval(_TAKE, 1, self._lease, self.holder, round(LEASE * 1000))
        return Holding(leads=answer > 0, anew=answer == 2)

    async def release(self) -> None:
        """Give the lease up at once, if it is ours."""
        with self._connections.errors():
            await self._redis.eval(_RELEASE, 1, self._lease, self.holder)

    async def write(self, status: FeedStatus) -> None:
        """Write what the feed says of itself. Only the leader may."""
        with self._connections.errors():
            await self._redis.set(self._status, status.to_json())

    async def read(self) -> tuple[FeedStatus | None, bool]:
        """What the leader wrote last, and whether there is a leader now.

        The status is None if none was ever written, or what is there is not one.
        """
        with self._connections.errors():
            raw = await self._redis.get(self._status)
            led = bool(await self._redis.exists(self._lease))
        try:
            return None if raw is None else read_status(raw), led
        except FeedError as error:
            if raw != self._unreadable:  # once, not with each look
                log.warning("the feed's status cannot be read", error=str(error))
            self._unreadable = raw
            return None, led
