"""Scripts in Lua for Redis: atomic operations on last states, contracts, bars and leases.

No other command can run between the reads and the writes of a script. The first field of each reply
is an integer. `ime_live.store.commands` runs the scripts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from ime_live.market_json import MAX_AHEAD

MAX_DIGITS: Final = 19
"""Maximum number of digits of a version or a token, as of a 64-bit integer."""

CONFLICT: Final = -1
"""Reply of `PUBLISH` and `CHANGE_CONTRACTS` if the data in Redis is not as expected."""

FENCED: Final = -2
"""Reply of scripts with a fencing token if a newer token was used before."""


class Script:
    """A Lua script, with its SHA-1 for EVALSHA.

    Attributes:
        keys: number of keys.
        reply_types: types of the fields of the reply.
    """

    def __init__(
        self, *parts: str, keys: int = 1, reply_types: Sequence[type] = (int, int)
    ) -> None:
        """Create a script.

        Args:
            parts: parts of its text, which are joined.
            keys: number of keys.
            reply_types: types of the fields of the reply.
        """
        self.keys = keys
        self.reply_types = reply_types
        text = "".join(parts).replace("MAX_AHEAD", str(MAX_AHEAD))
        self.text = text.replace("MAX_DIGITS", str(MAX_DIGITS)).encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()


_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
"""

# The fencing token in a hash: 0 without one, or if it is too far in the future to be valid.
_FENCE: Final = """
local function token_in(key)
  local token = tonumber(redis.call('HGET', key, 'token') or 0)
  if not (token and token > 0 and token <= now + MAX_AHEAD) then return 0 end
  return token
end
"""

# The replication id, "a given history of a data set" in the documentation of Redis. It changes when
# a server starts or is promoted, and so may have lost writes. Empty if INFO is not allowed.
_HISTORY: Final = """
local function present_history()
  local info = redis.pcall('INFO', 'replication')
  if type(info) ~= 'string' then return '' end
  local _, last = string.find(info, 'master_replid:', 1, true)
  return last and string.sub(info, last + 1, last + 40) or ''
end
"""

# KEYS[1]: last state of the contract. ARGV: its channel, the new data, the expected version or "",
# the writer's fencing token or "", the timestamp of the board or "".
# Returns {version of the last state from now on, 1 published | 0 equal | -1 not as expected}, or
# {newer token, -2}.
_PUBLISH: Final = """
-- Write 1163100.0 as 1163100. Keys of numbers end in a letter; quotes in texts have a backslash.
local function plain(json)
  return (string.gsub(json, '(%a":%-?%d+)%.0([,}])', '%1%2'))
end

-- Other programs may write an equal state with blanks, or with keys in another order.
local prefix = '{"BestLimit":{"1":{"buy_quantity":'
local function is_canonical(json) return string.sub(json, 1, #prefix) == prefix end
local function includes(stored, data)
  if type(data) ~= 'table' or type(stored) ~= 'table' then return data == stored end
  for key, value in pairs(data) do
    if not includes(stored[key], value) then return false end
  end
  return true
end
local function is_equal(stored, data)
  if stored == data then return true end
  -- Most states have no such number, and the search for one takes a tenth of the replacement.
  local has_float = string.find(stored, '.0', 1, true) or string.find(data, '.0', 1, true)
  if has_float and plain(stored) == plain(data) then return true end
  if is_canonical(stored) or not is_canonical(data) then return false end
  local readable, decoded = pcall(cjson.decode, stored)
  return readable and includes(decoded, cjson.decode(data))
end

if ARGV[4] ~= '' then
  local stored_token = token_in(KEYS[1])
  if stored_token > tonumber(ARGV[4]) then return {stored_token, -2} end
  if stored_token < tonumber(ARGV[4]) then redis.call('HSET', KEYS[1], 'token', ARGV[4]) end
end

local state = redis.call('HMGET', KEYS[1], 'version', 'data', 'history')
local data = ARGV[2]

-- A value with other characters than digits, or too far in the future, is no version: readers
-- refuse it, too.
local stored_version = state[1] or ''
local last = 0
if #stored_version <= MAX_DIGITS and string.find(stored_version, '^%d+$') then
  last = tonumber(stored_version)
end
if last > now + MAX_AHEAD then last = 0 end

if ARGV[3] ~= '' and tonumber(ARGV[3]) ~= last then
  return {last, -1}
end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'pushed', ARGV[5]) end
local seen = string.format('%.0f', now)
local history = present_history()
-- After a loss of writes, an equal state is a change for clients that received the lost state.
local stored_history = state[3] or ''
local same_history = stored_history == '' or history == '' or stored_history == history
if same_history and last > 0 and state[2] and is_equal(state[2], data) then
  if history == '' then history = stored_history end
  redis.call('HSET', KEYS[1], 'seen', seen, 'history', history)
  return {last, 0}
end
local version = math.max(now, last + 1)
local text = string.format('%.0f', version)
redis.call('HSET', KEYS[1], 'version', text, 'data', data, 'seen', seen, 'history', history)
redis.call('PUBLISH', ARGV[1], '{"version":' .. text .. ',"data":' .. data .. '}')
return {version, 1}
"""

# KEYS[1]: last state of the contract. ARGV: its channel, the data, its version.
# Returns {version of the last state from now on, 1 published | 0 the last state is not older}.
_PLACE: Final = """
local last = tonumber(redis.call('HGET', KEYS[1], 'version') or 0) or 0
if last >= tonumber(ARGV[3]) then return {last, 0} end
local seen = string.format('%.0f', now)
redis.call(
  'HSET', KEYS[1], 'version', ARGV[3], 'data', ARGV[2], 'seen', seen, 'history', present_history()
)
redis.call('PUBLISH', ARGV[1], '{"version":' .. ARGV[3] .. ',"data":' .. ARGV[2] .. '}')
return {tonumber(ARGV[3]), 1}
"""

# KEYS[1]: hash that writers with a fencing token change. ARGV: the token.
# Returns {0, timestamp of the board of its state or ""}, or {newer token, ""}.
_CLAIM: Final = """
local stored_token = token_in(KEYS[1])
if stored_token > tonumber(ARGV[1]) then return {stored_token, ''} end
redis.call('HSET', KEYS[1], 'token', ARGV[1])
return {0, redis.call('HGET', KEYS[1], 'pushed') or ''}
"""

# KEYS[1]: last state of the contract. ARGV: its channel, its expected version, the version of the
# gateway's state, microseconds since the gateway received that.
# Returns {1, new version} | {0, microseconds since the state was confirmed} | {-1, 0} if it has
# another version, or the new version would be too far in the future.
_LIFT: Final = """
local state = redis.call('HMGET', KEYS[1], 'version', 'data', 'seen')
local version = math.max(now, tonumber(ARGV[3]) + 1)
if tonumber(state[1]) ~= tonumber(ARGV[2]) or not state[2] or version > now + MAX_AHEAD then
  return {-1, 0}
end
local age = now - (tonumber(state[3] or 0) or 0)
-- A confirmation in the future was made by another clock, so its time is not known. (NaN: as well.)
if not (age >= 0) then return {0, -1} end
if age >= tonumber(ARGV[4]) then return {0, math.min(age, now)} end
local text = string.format('%.0f', version)
redis.call('HSET', KEYS[1], 'version', text)
redis.call('PUBLISH', ARGV[1], '{"version":' .. text .. ',"data":' .. state[2] .. '}')
return {1, version}
"""

# KEYS[1]: any key of the server. Returns {0, replication id or ""}.
_GET_HISTORY: Final = """
return {0, present_history()}
"""

# Compare and set. KEYS[1]: the contracts, and the name of their channel. KEYS[2]: hash with their
# fencing token. ARGV: the writer's fencing token or "", the digest of the expected contracts, the
# message for the channel, the number of contracts to put, the id and the record of each, the ids of
# contracts to remove.
# Returns {0, 1} changed | {0, -1} the contracts are not as expected, or {newer token, -2}.
_CHANGE_CONTRACTS: Final = """
if ARGV[1] ~= '' then
  local stored_token = token_in(KEYS[2])
  if stored_token > tonumber(ARGV[1]) then return {stored_token, -2} end
end
local contracts = table.concat(redis.call('HGETALL', KEYS[1]), '\\0')
if redis.sha1hex(contracts) ~= ARGV[2] then return {0, -1} end
local first_removed = 5 + 2 * tonumber(ARGV[4])
-- One call per contract, because Lua cannot pass thousands of arguments in one call.
for n = 5, first_removed - 1, 2 do redis.call('HSET', KEYS[1], ARGV[n], ARGV[n + 1]) end
for n = first_removed, #ARGV do redis.call('HDEL', KEYS[1], ARGV[n]) end
if #ARGV >= 5 then redis.call('PUBLISH', KEYS[1], ARGV[3]) end
return {0, 1}
"""

# A key of another type than string is a mistake, and counts as absent: SET overwrites it.
_GET: Final = """
local function get(key)
  local value = redis.pcall('GET', key)
  if type(value) == 'table' and value.err and string.find(value.err, 'WRONGTYPE', 1, true) then
    return false
  end
  return value
end
"""

# The lease is "<token> <holder>"; feeds before version 0.2 write the holder alone. A token too far
# in the future is a mistake, and counts as 0, because all later tokens must be greater.
_READ_LEASE: Final = """
local value = get(KEYS[1])
if type(value) == 'table' then return value end
local token, holder = 0, value
if value and string.match(value, '^%d+ ') then
  token, holder = string.match(value, '^(%d+) (.*)$')
end
token = tonumber(token)
if token > now + MAX_AHEAD then token = 0 end
"""

# KEYS[1]: the lease. ARGV: the holder, milliseconds, the greatest token that the holder knows.
# Returns {1 the holder has the lease | 0 another has it, its token, 1 new | 0 renewed}.
_TAKE_LEASE: Final = """
if holder and holder ~= ARGV[1] then return {0, token, 0} end
local anew, known = 0, tonumber(ARGV[3])
if known > now + MAX_AHEAD then known = 0 end
if not holder or token == 0 or token < known then
  token = math.max(now, token + 1, known + 1)
  anew = 1
end
redis.call('SET', KEYS[1], string.format('%.0f', token) .. ' ' .. ARGV[1], 'PX', ARGV[2])
return {1, token, anew}
"""

# KEYS[1]: the lease. ARGV: the holder. Returns {0}.
_RELEASE_LEASE: Final = """
if holder == ARGV[1] then redis.call('DEL', KEYS[1]) end
return {0}
"""

# KEYS[1]: the status. ARGV: the new status as JSON, its token. Returns {0}, or {newer token}.
_WRITE_STATUS: Final = """
local value = get(KEYS[1])
if type(value) == 'table' then return value end
local stored_token = tonumber(string.match(value or '', '"token":(%d+)') or 0)
if stored_token > tonumber(ARGV[2]) and stored_token <= now + MAX_AHEAD then
  return {stored_token}
end
redis.call('SET', KEYS[1], ARGV[1])
return {0}
"""

# KEYS[1]: the bars of a contract and day. ARGV: the writer's fencing token, the expected length or
# "" to replace all bars, the offset, the bars, seconds until they expire. The stored string begins
# with the token in MAX_DIGITS digits; see `ime_live.store.bar`.
# Returns {0, 1} written | {present length, -1} not as expected | {newer token, -2}.
_WRITE_BARS: Final = """
local replaces = ARGV[2] == ''
local head = redis.pcall('GETRANGE', KEYS[1], 0, MAX_DIGITS - 1)
if type(head) == 'table' then
  if not string.find(head.err, 'WRONGTYPE', 1, true) then return head end
  if not replaces then return {0, -1} end
  head = ''
end
local stored_token = string.find(head, '^%d+$') and tonumber(head) or 0
if stored_token > tonumber(ARGV[1]) and stored_token <= now + MAX_AHEAD then
  return {stored_token, -2}
end
local token = string.rep('0', MAX_DIGITS - #ARGV[1]) .. ARGV[1]
if replaces then
  redis.call('SET', KEYS[1], token .. ARGV[4], 'EX', ARGV[5])
  return {0, 1}
end
local length = redis.call('STRLEN', KEYS[1])
if length ~= tonumber(ARGV[2]) then return {length, -1} end
if head ~= token then redis.call('SETRANGE', KEYS[1], 0, token) end
redis.call('SETRANGE', KEYS[1], ARGV[3], ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[5])
return {0, 1}
"""

# KEYS[1]: the revocations, and the name of their channel. ARGV: for each revocation its field, its
# time, and the time until which it is kept, both in Unix seconds; 0 for ever. The later times of a
# field are kept. Returns {number of revocations, 0}.
_REVOKE: Final = """
local function times(value)
  local moment, expires = string.match(value or '', '^(%d+) (%d+)$')
  return tonumber(moment) or 0, tonumber(expires)
end
local fields = redis.call('HGETALL', KEYS[1])
for n = 1, #fields, 2 do
  local _, expires = times(fields[n + 1])
  if expires and expires > 0 and expires * 1000000 <= now then
    redis.call('HDEL', KEYS[1], fields[n])
  end
end
for n = 1, #ARGV, 3 do
  local moment, expires = times(redis.call('HGET', KEYS[1], ARGV[n]))
  local keep_until = tonumber(ARGV[n + 2])
  if expires == 0 or keep_until == 0 then
    keep_until = 0
  else
    keep_until = math.max(keep_until, expires or 0)
  end
  moment = math.max(moment, tonumber(ARGV[n + 1]))
  redis.call('HSET', KEYS[1], ARGV[n], string.format('%.0f %.0f', moment, keep_until))
end
redis.call('PUBLISH', KEYS[1], '')
return {redis.call('HLEN', KEYS[1]), 0}
"""

PUBLISH: Final = Script(_NOW, _FENCE, _HISTORY, _PUBLISH)
PLACE: Final = Script(_NOW, _HISTORY, _PLACE)
CLAIM: Final = Script(_NOW, _FENCE, _CLAIM, reply_types=(int, bytes))
LIFT: Final = Script(_NOW, _LIFT)
HISTORY: Final = Script(_HISTORY, _GET_HISTORY, reply_types=(int, bytes))
CHANGE_CONTRACTS: Final = Script(_NOW, _FENCE, _CHANGE_CONTRACTS, keys=2)
TAKE_LEASE: Final = Script(_NOW, _GET, _READ_LEASE, _TAKE_LEASE, reply_types=(int, int, int))
RELEASE_LEASE: Final = Script(_NOW, _GET, _READ_LEASE, _RELEASE_LEASE, reply_types=(int,))
WRITE_STATUS: Final = Script(_NOW, _GET, _WRITE_STATUS, reply_types=(int,))
REVOKE: Final = Script(_NOW, _REVOKE)
WRITE_BARS: Final = Script(_NOW, _WRITE_BARS)


def digest_of(contracts: Mapping[bytes, bytes]) -> str:
    """Return the digest of contracts for `CHANGE_CONTRACTS`, from the reply of HGETALL.

    The digest depends on the order of the fields. Redis returns the fields of an unchanged hash in
    the same order, except while it rehashes them: then another attempt is made.
    """
    fields = (field for pair in contracts.items() for field in pair)
    return hashlib.sha1(b"\0".join(fields), usedforsecurity=False).hexdigest()
