"""What a Redis or Valkey server does for `GroupBus`, beside `scripts.py`, with the same keys.

Those of replicas share a slot of their own:

    …:replicas      sorted set: replicas by the end of their leases, in ms
    …:ids:REPLICA   set: the prefixes of the identities whose generations it runs, or ran a short time ago
    …:mail:REPLICA  hash: number to a letter that is kept until it is read
    …:burial:REPLICA  who sees to what a dead one left
"""

from typing import Final

CLAIM: Final = """
for _, other in ipairs(redis.call('HKEYS', KEYS[1])) do
  local counts = other ~= ARGV[1] and redis.call('HGET', KEYS[1], other) == 't'
  for k = 5, #ARGV do counts = counts and ARGV[k] ~= other end
  if counts then
    local g = redis.call('HMGET', ARGV[4] .. other, 'r', 's')
    if g[2] == 'live' or g[2] == 'claimed' then return {0, other, g[1], g[2]} end
  end
end
local state = redis.call('HGET', KEYS[2], 's')
if not state or state == 'claimed' then  -- else this claim is late: its generation has begun without it
  redis.call('HSET', KEYS[2], 'r', ARGV[2], 's', 'claimed')
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  redis.call('HSET', KEYS[1], ARGV[1], 't')
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
end
return {1, redis.call('HVALS', KEYS[3])}
"""
"""KEYS: i, g, w. ARGV: uid, replica, lifetime in ms, prefix of g, the generations that don't count."""

GIVE_UP: Final = """
if redis.call('HGET', KEYS[2], 's') ~= 'claimed' then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
return redis.call('DEL', KEYS[2])
"""
"""KEYS: i, g. ARGV: uid."""

OWNERS: Final = """
local found, seen = {}, {}
for _, replica in ipairs(redis.call('HVALS', KEYS[1])) do
  if not seen[replica] then
    seen[replica] = true
    found[#found + 1] = replica
  end
end
return found
"""
"""KEYS: live."""

LEFT: Final = """
local found, all = {}, redis.call('HGETALL', KEYS[1])
for k = 1, #all, 2 do
  if all[k + 1] == ARGV[1] then
    local g = redis.call('HMGET', ARGV[2] .. all[k], 's', 'a')
    if g[1] == 'live' then found[#found + 1] = {all[k], g[2]}
    else redis.call('HDEL', KEYS[1], all[k]) end
  end
end
return found
"""
"""KEYS: live. ARGV: replica, prefix of g."""

PLACES: Final = """
local found = {}
for k = 1, #KEYS do
  local g = redis.call('HMGET', KEYS[k], 'r', 's', 'a')
  if g[2] == 'live' or g[2] == 'over' then found[#found + 1] = {ARGV[k], g[1], g[2], g[3]} end
end
return found
"""
"""KEYS: the g of each generation. ARGV: their uids."""

BURY: Final = """
local found, all = {}, redis.call('HGETALL', KEYS[1])
for k = 1, #all, 2 do
  if all[k + 1] == ARGV[1] then
    local where = ARGV[2] .. all[k]
    local g = redis.call('HMGET', where, 'r', 's', 'a')
    if g[1] == ARGV[1] and g[2] == 'live' then
      redis.call('HSET', where, 's', 'over')
      found[#found + 1] = {all[k], g[3]}
    end
    redis.call('HDEL', KEYS[1], all[k])
  end
end
return found
"""
"""KEYS: live. ARGV: replica, prefix of g. Stops that are kept stay, for one that is back after all; they expire."""

NOTE: Final = """
if ARGV[2] == '1' then redis.call('DEL', KEYS[1]) end
for k = 3, #ARGV do redis.call('SADD', KEYS[1], ARGV[k]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""
"""KEYS: ids. ARGV: lifetime in ms, whether all others go, prefixes of identities."""

POST: Final = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return redis.call('PUBLISH', ARGV[4], ARGV[5])
"""
"""KEYS: mail. ARGV: number, letter, lifetime in ms, channel, what is published there."""

DEATH: Final = """
if redis.call('EXISTS', KEYS[1]) == 1 or not redis.call('ZSCORE', KEYS[3], ARGV[3]) then return 0 end
return redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) and 1 or 0
"""
"""KEYS: lease, burial, replicas. ARGV: this process, lifetime in ms, the dead replica."""

BURIED: Final = """
redis.call('DEL', KEYS[2])
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('DEL', KEYS[4])
return redis.call('ZREM', KEYS[3], ARGV[1])
"""
"""KEYS: lease, burial, replicas, ids. ARGV: the dead replica. One that came back meanwhile stays, and so does mail."""
