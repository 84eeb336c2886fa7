"""Lease: which of several feeds leads, and its status, in Redis or Valkey.

The lease expires by the server's clock unless it is renewed, so gateways need not compare clocks to
know that a feed is gone. Each leadership has a fencing token greater than all before it (Martin
Kleppmann, "How to do distributed locking", 2016). Every write of the leader carries it, and the
store refuses older tokens. So a former leader with delayed commands cannot overwrite the data of
its successor.
"""

from __future__ import annotations

import time
from typing import Final

from msgspec import Struct

from ime_live.errors import FeedError, FencedError, StoreError
from ime_live.market import MAX_AHEAD
from ime_live.settings import StoreSettings
from ime_live.status import FeedState, FeedStatus, read_status
from ime_live.store.commands import Commands
from ime_live.store.connections import Connections
from ime_live.store.records import is_bad_data

LEASE: Final = 3.0
"""Seconds after which a lease expires unless it is renewed."""

UNREADABLE: Final = "the feed's status cannot be read"

# A key of another type than text is a mistake, and counts as absent: SET overwrites it.
_GET: Final = """
local function get(key)
  local value = redis.pcall('GET', key)
  if type(value) == 'table' and value.err and string.find(value.err, 'WRONGTYPE', 1, true) then
    return false
  end
  return value
end
"""

# The lease is "<token> <holder>"; feeds before version 0.2 write their name alone. A token too far
# ahead is a mistake, and counts as 0, because otherwise all later ones would be ahead as well.
_READ: Final = (
    _GET
    + """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local value = get(KEYS[1])
if type(value) == 'table' then return value end
local token, holder = 0, value
if value and string.match(value, '^%d+ ') then
  token, holder = string.match(value, '^(%d+) (.*)$')
end
token = tonumber(token)
if token > now + MAX_AHEAD then token = 0 end
""".replace("MAX_AHEAD", str(MAX_AHEAD))
)

# KEYS[1] the lease; ARGV: the holder, milliseconds, the greatest token that the holder has seen.
# Answers {1 ours | 0 another's, its token, 1 taken just now | 0 renewed}.
_TAKE: Final = (
    _READ
    + """
if holder and holder ~= ARGV[1] then return {0, token, 0} end
local anew, seen = 0, tonumber(ARGV[3])
if seen > now + MAX_AHEAD then seen = 0 end
if not holder or token == 0 or token < seen then
  token = math.max(now, token + 1, seen + 1)
  anew = 1
end
redis.call('SET', KEYS[1], string.format('%.0f', token) .. ' ' .. ARGV[1], 'PX', ARGV[2])
return {1, token, anew}
""".replace("MAX_AHEAD", str(MAX_AHEAD))
)

# KEYS[1] the lease; ARGV: the holder.
_RELEASE: Final = (
    _READ
    + """
if holder == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0
"""
)

# KEYS[1] the status; ARGV: JSON of it, its token. Answers 0, or the newer token.
_WRITE: Final = (
    _GET
    + """
local time = redis.call('TIME')
local value = get(KEYS[1])
if type(value) == 'table' then return value end
local held = tonumber(string.match(value or '', '"token":(%d+)') or 0)
if held > tonumber(ARGV[2]) and held <= time[1] * 1000000 + time[2] + MAX_AHEAD then
  return held
end
redis.call('SET', KEYS[1], ARGV[1])
return 0
""".replace("MAX_AHEAD", str(MAX_AHEAD))
)


class Holding(Struct, frozen=True):
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
        connections: Connections | None = None,
    ) -> None:
        """Create a lease object. It connects on first use.

        Args:
            settings: address of Redis.
            holder: name of this feed, different for each feed; a gateway needs none.
            connections: connections to use and to leave open; None opens its own.

        Raises:
            SettingsError: ``redis_url`` is not in one of the forms of docs/redis.md.
        """
        super().__init__(settings, connections=connections)
        self.holder = holder
        self._lease, self._status = self.keys.feed, self.keys.status
        self._unreadable: tuple[str, int] | None = None
        """A status that could not be read, and when it was first noticed."""
        self._seen = 0
        """The greatest known fencing token."""

    async def take(self) -> Holding:
        """Take the lease for `LEASE` seconds if no other feed holds it, or renew it."""
        with self.connections.errors():
            ours, token, anew = await self._redis.eval(
                _TAKE, 1, self._lease, self.holder, round(LEASE * 1000), self._seen
            )
            self.note(token)
            return Holding(leads=bool(ours), token=token, anew=bool(anew))

    def note(self, token: int) -> None:
        """Note a fencing token, so that the next leadership has a greater one.

        Call it with the token of a `ime_live.errors.FencedError`. Then tokens grow even if the
        store is emptied, or replaced by a server with a slower clock.
        """
        self._seen = max(self._seen, token)

    async def release(self) -> None:
        """Give up the lease at once, if this feed has it."""
        with self.connections.errors():
            await self._redis.eval(_RELEASE, 1, self._lease, self.holder)

    async def write(self, status: FeedStatus) -> None:
        """Write the status of the feed; only the leader may.

        Raises:
            FencedError: a feed with a newer token has written its status.
        """
        with self.connections.errors():
            newer = await self._redis.eval(_WRITE, 1, self._status, status.to_json(), status.token)
            if type(newer) is not int:
                raise TypeError(f"a reply that is no whole number: {newer!r:.100}")
        if newer:
            raise FencedError(
                f"the feed's status was not written: token {newer} leads, and not {status.token}",
                token=newer,
            )

    async def read(self) -> tuple[FeedStatus | None, bool]:
        """Return the last status, and whether there is a leader now.

        The status is None if none was ever written. If it cannot be read, the feed counts as down.
        """
        with self.connections.errors():
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.execute_command("GET", self._status)
                pipe.execute_command("EXISTS", self._lease)
                raw, led = await pipe.execute(raise_on_error=False)
        for reply in (raw, led):
            if isinstance(reply, Exception) and not is_bad_data(reply):
                raise self.connections.error(reply)
        if not isinstance(raw, bytes | Exception | None):
            raise StoreError(f"Redis at {self.connections.place}: a reply that is no text: {raw!r}")
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
            self._unreadable = str(raw), time.time_ns() // 1000
        return FeedStatus(FeedState.DOWN, self._unreadable[1], error=UNREADABLE), bool(led)
