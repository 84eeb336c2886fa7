"""Scripts: atomic operations on last states, the contracts and the lease, in Lua within Redis.

No other write can happen between a script's reading and its writing. The first field of each answer
is a whole number. `ime_live.store.commands` runs them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from ime_live.market_json import MAX_AHEAD

MAX_DIGITS: Final = 19
"""Most digits of a version; a number of 64 bits has no more."""

CONFLICT: Final = -1
"""Answer of `PUBLISH` and `CHANGE_CONTRACTS` when the data in Redis is not as expected."""

FENCED: Final = -2
"""Answer of `PUBLISH` and `CHANGE_CONTRACTS` when a newer fencing token was used before."""


class Script:
    """A Lua script, and its SHA-1, by which a server runs it once loaded.

    Attributes:
        keys: number of its keys.
        answer: types of the fields of its answer.
    """

    def __init__(self, *parts: str, keys: int = 1, answer: Sequence[type] = (int, int)) -> None:
        """Create a script from its parts."""
        self.keys = keys
        self.answer = answer
        text = "".join(parts).replace("MAX_AHEAD", str(MAX_AHEAD))
        self.text = text.replace("MAX_DIGITS", str(MAX_DIGITS)).encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()


_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
"""

# The fencing token in a hash: 0 if there is none, or one that is too far ahead to be one.
_FENCE: Final = """
local function token_in(key)
  local token = tonumber(redis.call('HGET', key, 'token') or 0)
  if not (token and token > 0 and token <= now + MAX_AHEAD) then return 0 end
  return token
end
"""

# The replication id: "a given history of a data set" in Redis's documentation. It changes when a
# server starts or becomes the leader, and so may have lost writes. Empty if Redis does not tell it.
_HISTORY: Final = """
local function present_history()
  local info = redis.pcall('INFO', 'replication')
  if type(info) ~= 'string' then return '' end
  local _, last = string.find(info, 'master_replid:', 1, true)
  return last and string.sub(info, last + 1, last + 40) or ''
end
"""

# KEYS[1] the contract's last state; ARGV: its channel, the new data, the expected version or "",
# the writer's fencing token or "", the timestamp of the board that it is from or "".
# Answers {version of what is now the last state, 1 published | 0 equal | -1 not as expected}, or
# {the newer token, -2}.
_PUBLISH: Final = """
-- 1163100.0 is 1163100. Keys of numbers end in a letter; in a text, a quote has a backslash.
local function plain(json)
  return (string.gsub(json, '(%a":%-?%d+)%.0([,}])', '%1%2'))
end

-- Other programs write the same state in other words: with blanks, or keys in another order.
local ours = '{"BestLimit":{"1":{"buy_quantity":'
local function written_by_us(json) return string.sub(json, 1, #ours) == ours end
local function includes(theirs, mine)
  if type(mine) ~= 'table' or type(theirs) ~= 'table' then return mine == theirs end
  for key, value in pairs(mine) do
    if not includes(theirs[key], value) then return false end
  end
  return true
end
local function is_equal(stored, data)
  if stored == data then return true end
  -- Most have no such number, and to look for one takes a tenth of writing it otherwise.
  local odd = string.find(stored, '.0', 1, true) or string.find(data, '.0', 1, true)
  if odd and plain(stored) == plain(data) then return true end
  if written_by_us(stored) or not written_by_us(data) then return false end
  local readable, theirs = pcall(cjson.decode, stored)
  return readable and includes(theirs, cjson.decode(data))
end

if ARGV[4] ~= '' then
  local held = token_in(KEYS[1])
  if held > tonumber(ARGV[4]) then return {held, -2} end
  if held < tonumber(ARGV[4]) then redis.call('HSET', KEYS[1], 'token', ARGV[4]) end
end

local state = redis.call('HMGET', KEYS[1], 'version', 'data', 'history')
local data = ARGV[2]

-- What is not whole digits, or too far ahead, was never a version of ours: readers refuse it.
local written = state[1] or ''
local last = 0
if #written <= MAX_DIGITS and string.find(written, '^%d+$') then last = tonumber(written) end
if last > now + MAX_AHEAD then last = 0 end

if ARGV[3] ~= '' and tonumber(ARGV[3]) ~= last then
  return {last, -1}
end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'pushed', ARGV[5]) end
local seen = string.format('%.0f', now)
local history = present_history()
-- After a loss of writes an equal state is new to clients that received the lost one.
local written_in = state[3] or ''
local same_history = written_in == '' or history == '' or written_in == history
if same_history and last > 0 and state[2] and is_equal(state[2], data) then
  if history == '' then history = written_in end
  redis.call('HSET', KEYS[1], 'seen', seen, 'history', history)
  return {last, 0}
end
local version = math.max(now, last + 1)
local text = string.format('%.0f', version)
redis.call('HSET', KEYS[1], 'version', text, 'data', data, 'seen', seen, 'history', history)
redis.call('PUBLISH', ARGV[1], '{"version":' .. text .. ',"data":' .. data .. '}')
return {version, 1}
"""

# KEYS[1] the contract's last state; ARGV: its channel, the data, its version.
# Answers {the version of what is now the last state, 1 published | 0 the last one is not older}.
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

# KEYS[1] a hash that writers with a token change; ARGV: the token.
# Answers {0, the timestamp of the board that its state is from or ""}, or {the newer token, ""}.
_CLAIM: Final = """
local held = token_in(KEYS[1])
if held > tonumber(ARGV[1]) then return {held, ''} end
redis.call('HSET', KEYS[1], 'token', ARGV[1])
return {0, redis.call('HGET', KEYS[1], 'pushed') or ''}
"""

# KEYS[1] the contract's last state; ARGV: its channel, the version that it has as the gateway
# knows, the version that the gateway has, for how many microseconds it has had that.
# Answers {1, the new version} | {0, microseconds since the state was confirmed} | {-1, 0} if it is
# not that state, or its version would be too far ahead.
_LIFT: Final = """
local state = redis.call('HMGET', KEYS[1], 'version', 'data', 'seen')
local version = math.max(now, tonumber(ARGV[3]) + 1)
if tonumber(state[1]) ~= tonumber(ARGV[2]) or not state[2] or version > now + MAX_AHEAD then
  return {-1, 0}
end
local age = now - (tonumber(state[3] or 0) or 0)
-- What was confirmed after now was so by another clock: when is not known. (Not for NaN, either.)
if not (age >= 0) then return {0, -1} end
if age >= tonumber(ARGV[4]) then return {0, math.min(age, now)} end
local text = string.format('%.0f', version)
redis.call('HSET', KEYS[1], 'version', text)
redis.call('PUBLISH', ARGV[1], '{"version":' .. text .. ',"data":' .. state[2] .. '}')
return {1, version}
"""

# KEYS[1] any key of the server that is asked. Answers {0, its history or ""}.
_ASK_HISTORY: Final = """
return {0, present_history()}
"""

# Compare and set. KEYS[1] the contracts, and the name of their channel; KEYS[2] the hash with their
# fencing token. ARGV: the writer's fencing token or "", the digest of the contracts that the change
# was planned from, the message for the channel, the number of contracts to put, the id and the
# record of each, the ids of those to remove.
# Answers {0, 1} if it was made | {0, -1} if the contracts are others, or {the newer token, -2}.
_CHANGE_CONTRACTS: Final = """
if ARGV[1] ~= '' then
  local held = token_in(KEYS[2])
  if held > tonumber(ARGV[1]) then return {held, -2} end
end
local contracts = table.concat(redis.call('HGETALL', KEYS[1]), '\\0')
if redis.sha1hex(contracts) ~= ARGV[2] then return {0, -1} end
local removed = 5 + 2 * tonumber(ARGV[4])
-- One by one: Lua cannot pass thousands of arguments in one call.
for n = 5, removed - 1, 2 do redis.call('HSET', KEYS[1], ARGV[n], ARGV[n + 1]) end
for n = removed, #ARGV do redis.call('HDEL', KEYS[1], ARGV[n]) end
if #ARGV >= 5 then redis.call('PUBLISH', KEYS[1], ARGV[3]) end
return {0, 1}
"""

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

# KEYS[1] the lease; ARGV: the holder, milliseconds, the greatest token that the holder has seen.
# Answers {1 ours | 0 another's, its token, 1 taken just now | 0 renewed}.
_TAKE_LEASE: Final = """
if holder and holder ~= ARGV[1] then return {0, token, 0} end
local anew, seen = 0, tonumber(ARGV[3])
if seen > now + MAX_AHEAD then seen = 0 end
if not holder or token == 0 or token < seen then
  token = math.max(now, token + 1, seen + 1)
  anew = 1
end
redis.call('SET', KEYS[1], string.format('%.0f', token) .. ' ' .. ARGV[1], 'PX', ARGV[2])
return {1, token, anew}
"""

# KEYS[1] the lease; ARGV: the holder. Answers {0}.
_RELEASE_LEASE: Final = """
if holder == ARGV[1] then redis.call('DEL', KEYS[1]) end
return {0}
"""

# KEYS[1] the status; ARGV: JSON of it, its token. Answers {0}, or {the newer token}.
_WRITE_STATUS: Final = """
local value = get(KEYS[1])
if type(value) == 'table' then return value end
local held = tonumber(string.match(value or '', '"token":(%d+)') or 0)
if held > tonumber(ARGV[2]) and held <= now + MAX_AHEAD then return {held} end
redis.call('SET', KEYS[1], ARGV[1])
return {0}
"""

# KEYS[1] the bars of a contract and day; ARGV: the writer's fencing token, the length that the
# writer expects or "" to replace everything, where to write, what, and seconds until they expire.
# They begin with the token in MAX_DIGITS digits, see `ime_live.store.bar`.
# Answers {0, 1} | {the present length, -1} if it is not as expected | {the newer token, -2}.
_WRITE_BARS: Final = """
local whole = ARGV[2] == ''
local head = redis.pcall('GETRANGE', KEYS[1], 0, MAX_DIGITS - 1)
if type(head) == 'table' then
  if not string.find(head.err, 'WRONGTYPE', 1, true) then return head end
  if not whole then return {0, -1} end
  head = ''
end
local held = string.find(head, '^%d+$') and tonumber(head) or 0
if held > tonumber(ARGV[1]) and held <= now + MAX_AHEAD then return {held, -2} end
local token = string.rep('0', MAX_DIGITS - #ARGV[1]) .. ARGV[1]
if whole then
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

# KEYS[1] the revocations, and the name of their channel. ARGV: for each the field, its moment and
# when it may be forgotten, both in seconds; 0 for never. Of two with one field, the later count.
# Answers {number of revocations, 0}.
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
  local until_ = tonumber(ARGV[n + 2])
  if expires == 0 or until_ == 0 then until_ = 0 else until_ = math.max(until_, expires or 0) end
  moment = math.max(moment, tonumber(ARGV[n + 1]))
  redis.call('HSET', KEYS[1], ARGV[n], string.format('%.0f %.0f', moment, until_))
end
redis.call('PUBLISH', KEYS[1], '')
return {redis.call('HLEN', KEYS[1]), 0}
"""

PUBLISH: Final = Script(_NOW, _FENCE, _HISTORY, _PUBLISH)
PLACE: Final = Script(_NOW, _HISTORY, _PLACE)
CLAIM: Final = Script(_NOW, _FENCE, _CLAIM, answer=(int, bytes))
LIFT: Final = Script(_NOW, _LIFT)
HISTORY: Final = Script(_HISTORY, _ASK_HISTORY, answer=(int, bytes))
CHANGE_CONTRACTS: Final = Script(_NOW, _FENCE, _CHANGE_CONTRACTS, keys=2)
TAKE_LEASE: Final = Script(_NOW, _GET, _READ_LEASE, _TAKE_LEASE, answer=(int, int, int))
RELEASE_LEASE: Final = Script(_NOW, _GET, _READ_LEASE, _RELEASE_LEASE, answer=(int,))
WRITE_STATUS: Final = Script(_NOW, _GET, _WRITE_STATUS, answer=(int,))
REVOKE: Final = Script(_NOW, _REVOKE)
WRITE_BARS: Final = Script(_NOW, _WRITE_BARS)


def digest_of(contracts: Mapping[bytes, bytes]) -> str:
    """Return the digest that `CHANGE_CONTRACTS` expects, from the reply of HGETALL.

    The order counts. Redis returns the fields of an unchanged hash in one order, except while it
    moves them to a larger table: then one more attempt is made for nothing.
    """
    fields = (field for pair in contracts.items() for field in pair)
    return hashlib.sha1(b"\0".join(fields), usedforsecurity=False).hexdigest()
