"""Lua scripts of the session store in Redis. Each one is atomic.

KEYS[1] is the lock of a session, KEYS[2] its state. ARGV[1] is the holder's token, ARGV[2] the fingerprint of the state
that the holder has read or written last: "" if there was none.
"""

from __future__ import annotations

import hashlib

#: A lock is a lease that its holder renews. Where it was lost, because Redis hung, restarted or was full, the holder
#: still has the session if nobody has it now and its state has not changed since.
_OWNERSHIP = """
local function fingerprint()
  local kind = redis.call('TYPE', KEYS[2]).ok
  if kind == 'none' then return '' end
  if kind ~= 'string' then return kind end
  if redis.call('STRLEN', KEYS[2]) > tonumber(MAX_BYTES) then return 'long' end
  return redis.sha1hex(redis.call('GET', KEYS[2]))
end
local function is_ours()
  local kind = redis.call('TYPE', KEYS[1]).ok
  if kind == 'none' then return fingerprint() == ARGV[2] end
  return kind == 'string' and redis.call('GET', KEYS[1]) == ARGV[1]
end
"""

#: Returns 1, or 0 if another holds it. A lock that never ends, or ends later than any of ours (ARGV[4]), is none.
ACQUIRE = """
local left = redis.call('PTTL', KEYS[1])
if left == -1 or left > tonumber(ARGV[4]) then redis.call('DEL', KEYS[1]) left = -2 end
if left ~= -2 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 1
"""

#: Returns the fingerprint and the state, or the fingerprint alone if there is none or if it can be none of ours.
LOAD = (
    _OWNERSHIP
    + """
local found = fingerprint()
if #found ~= 40 then return {found} end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return {found, redis.call('GET', KEYS[2])}
"""
)

RENEW = _OWNERSHIP + "if is_ours() then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3]) end return 1"

#: These return -1 if the session is another's by now.
SAVE = (
    _OWNERSHIP
    + """
if not is_ours() then return -1 end
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[3])
return 1
"""
)
DELETE = _OWNERSHIP + "if not is_ours() then return -1 end return redis.call('DEL', KEYS[2])"

RELEASE = """
if redis.call('TYPE', KEYS[1]).ok == 'string' and redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 1
"""


#: Puts the session ARGV[1] with the label ARGV[2] into the index of its owner, KEYS[1] by time and KEYS[2] with labels,
#: and takes out those that have expired: ARGV[3] is their lifetime in milliseconds.
NOTE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - 2 * tonumber(ARGV[3]))) do
  redis.call('ZREM', KEYS[1], old)
  redis.call('HDEL', KEYS[2], old)
end
redis.call('PEXPIRE', KEYS[1], 2 * tonumber(ARGV[3]))
redis.call('PEXPIRE', KEYS[2], 2 * tonumber(ARGV[3]))
return 1
"""


def for_states_of(script: str, max_bytes: int) -> str:
    """The script for states of at most so many bytes; longer values are not read."""
    return script.replace("MAX_BYTES", str(max_bytes))


def fingerprint(data: bytes | None) -> str:
    """What a script computes of a state: it tells states apart, and protects nothing."""
    return "" if data is None else hashlib.sha1(data, usedforsecurity=False).hexdigest()
