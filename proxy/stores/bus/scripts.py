"""What a Redis or Valkey server does for the bus: each script is one step that nothing comes between.

One identity's keys share a slot of a Cluster, so that a script may use them all. With it they are:

    …:g:UID    hash: r the owner, s claimed, live or over, a about, n order
    …:i:ID     hash: UID to t (it is the task id) or a (an alias)
    …:live     hash: UID of what lives to its owner
    …:stops    hash: UID of what stops are kept for
    …:g:UID:stops  hash: number to a stop that is kept for its owner
    …:w:ID     hash: end user or * to a waiting stop
    …:w:ID:until  sorted set: the same end users, by the time in µs at which their stops end
    …:waiting  sorted set: the IDs for which stops wait, by time

The scripts are sent as they are each time: a server that was restarted, or took over, knows them all the same.
"""

from typing import Final

_FORGET: Final = """
local function forget(waits, now)  -- the stops that waited for long enough
  local old = redis.call('ZRANGEBYSCORE', waits .. ':until', '-inf', string.format('%.0f', now))
  for _, user in ipairs(old) do redis.call('HDEL', waits, user) end
  redis.call('ZREMRANGEBYSCORE', waits .. ':until', '-inf', string.format('%.0f', now))
end
"""

OWN: Final = (
    _FORGET
    + """
local uid, waiting, order = ARGV[1], tonumber(ARGV[8]), ARGV[4]
if order == '0' then
  local time = redis.call('TIME')
  order = time[1] .. string.format('%06d', time[2])
end
redis.call('HSET', KEYS[1], 'r', ARGV[2], 's', 'live', 'a', ARGV[3], 'n', order)
redis.call('PEXPIRE', KEYS[1], ARGV[5])
if redis.call('TYPE', KEYS[2]).ok == 'string' then redis.call('DEL', KEYS[2]) end  -- somebody's garbage
redis.call('HSET', KEYS[2], uid, ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
local said = {order}
for k = 3, 2 + waiting do
  local stops = redis.call('HMGET', KEYS[k], ARGV[6], '*')
  if stops[1] or stops[2] then
    local time = redis.call('TIME')
    forget(KEYS[k], time[1] * 1000000 + time[2])
    stops = redis.call('HMGET', KEYS[k], ARGV[6], '*')
  end
  if stops[1] or stops[2] then
    said[#said + 1] = stops[1] or stops[2]
    redis.call('HDEL', KEYS[k], ARGV[6], '*')
  end
end
for k = 3 + waiting, #KEYS do
  for _, other in ipairs(redis.call('HKEYS', KEYS[k])) do
    if redis.call('EXISTS', ARGV[7] .. other) == 0 then redis.call('HDEL', KEYS[k], other) end
  end
  redis.call('HSET', KEYS[k], uid, k == 3 + waiting and 't' or 'a')
  redis.call('PEXPIRE', KEYS[k], ARGV[5])
end
return said
"""
)
"""KEYS: g, live, the w of each id that stops may wait for, the i of each id, the task id's first.
ARGV: uid, replica, about, order (0: none yet), lifetime in ms, end user, prefix of g, how many w."""

ALIAS: Final = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'a', ARGV[2])
for _, other in ipairs(redis.call('HKEYS', KEYS[2])) do
  if redis.call('EXISTS', ARGV[4] .. other) == 0 then redis.call('HDEL', KEYS[2], other) end
end
redis.call('HSETNX', KEYS[2], ARGV[1], 'a')
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
"""
"""KEYS: g, i. ARGV: uid, about, lifetime in ms, prefix of g."""

RELEASE: Final = """
redis.call('HDEL', KEYS[3], ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 's', 'over', 'a', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('DEL', KEYS[1] .. ':stops')
for k = 4, #KEYS do
  if redis.call('HLEN', KEYS[k]) == 1 then redis.call('PEXPIRE', KEYS[k], ARGV[3]) end
end
return 1
"""
"""KEYS: g, stops, live, the i of each id. ARGV: uid, about, lifetime in ms."""

FIND: Final = """
local found, ids = {}, redis.call('HGETALL', KEYS[1])
for k = 1, #ids, 2 do
  local g = redis.call('HMGET', ARGV[1] .. ids[k], 'r', 's', 'a', 'n')
  if g[2] ~= 'claimed' and g[1] then found[#found + 1] = {ids[k], ids[k + 1], g[1], g[2], g[3], g[4]} end
end
return found
"""
"""KEYS: i. ARGV: prefix of g."""

STOP: Final = """
local g = redis.call('HMGET', KEYS[1], 'r', 's')
if not g[1] then return -1 end
if g[2] == 'live' and ARGV[4] ~= '' then
  local kept, most = KEYS[1] .. ':stops', tonumber(ARGV[6])
  if most == 0 or redis.call('HLEN', kept) < most then
    redis.call('HSET', kept, ARGV[4], ARGV[5])
    redis.call('PEXPIRE', kept, ARGV[7])
    redis.call('HSET', KEYS[2], ARGV[1], '')
    redis.call('PEXPIRE', KEYS[2], ARGV[7])
  end
end
return redis.call('PUBLISH', ARGV[2] .. g[1], ARGV[3])
"""
"""KEYS: g, stops. ARGV: uid, prefix of channels, what is published; of what is kept: number (empty: nothing is),
letter, the most (0: however many), lifetime in ms."""

LEAVE: Final = (
    _FORGET
    + """
for _, uid in ipairs(redis.call('HKEYS', KEYS[1])) do
  if redis.call('HGET', ARGV[5] .. uid, 's') == 'live' then return 0 end
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
forget(KEYS[2], now)
local untils = KEYS[2] .. ':until'
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('ZADD', untils, now + ARGV[3] * 1000, ARGV[1])
local users = redis.call('ZCARD', untils) - ARGV[8]
if users > 0 then
  for _, user in ipairs(redis.call('ZRANGE', untils, 0, users - 1)) do redis.call('HDEL', KEYS[2], user) end
  redis.call('ZREMRANGEBYRANK', untils, 0, users - 1)
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('PEXPIRE', untils, ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[3] * 1000)
redis.call('ZADD', KEYS[3], now, ARGV[7])
local many = redis.call('ZCARD', KEYS[3]) - ARGV[4]
if many > 0 then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[3], 0, many - 1)) do
    redis.call('DEL', ARGV[6] .. id, ARGV[6] .. id .. ':until')
  end
  redis.call('ZREMRANGEBYRANK', KEYS[3], 0, many - 1)
end
redis.call('PEXPIRE', KEYS[3], ARGV[3])
return 1
"""
)
"""KEYS: i, w, waiting. ARGV: end user or *, letter, lifetime in ms, the most ids, prefixes of g and w, the id's hash,
the most for one id."""

LOOK: Final = """
local missing, kind = 0, redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'hash' then redis.call('DEL', KEYS[1]) end  -- somebody's garbage
for k = 2, #KEYS do missing = missing + 1 - redis.call('PEXPIRE', KEYS[k], ARGV[1]) end
local stops = {}
for _, uid in ipairs(redis.call('HKEYS', KEYS[1])) do
  local letters = redis.call('HVALS', ARGV[2] .. uid .. ':stops')
  if #letters == 0 or redis.call('EXISTS', ARGV[2] .. uid) == 0 then redis.call('HDEL', KEYS[1], uid) end
  for _, letter in ipairs(letters) do
    stops[#stops + 1] = uid
    stops[#stops + 1] = letter
  end
end
return {missing, stops}
"""
"""KEYS: stops, live, the g of each owned generation. ARGV: lifetime in ms, prefix of g."""

BEAT: Final = """
for k, kind in ipairs({'string', 'string', 'zset', 'hash'}) do  -- somebody's garbage there must not cost us the beat
  local found = redis.call('TYPE', KEYS[k]).ok
  if found ~= 'none' and found ~= kind then redis.call('DEL', KEYS[k]) end
end
local before, time = redis.call('GET', KEYS[1]), redis.call('TIME')
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local since = redis.call('GET', KEYS[2])
if not since or #since > 12 or not since:match('^%d+$') or tonumber(since) > tonumber(time[1]) then
  redis.call('SET', KEYS[2], time[1])
end
redis.call('PEXPIRE', KEYS[2], ARGV[5])
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[3], now + ARGV[2], ARGV[6])
redis.call('PEXPIRE', KEYS[3], ARGV[5])
redis.call('PUBLISH', ARGV[3], ARGV[4])
local lapsed = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', '(' .. string.format('%.0f', now), 'LIMIT', 0, 100)
return {before or '', time[1], time[2], lapsed, redis.call('HGETALL', KEYS[4])}
"""
"""KEYS: lease, since, replicas, mail. ARGV: this process, lease in ms, own channel, what is published there, since's
lifetime in ms, this replica."""

SHIP: Final = """
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'p', ARGV[1])
return redis.call('PEXPIRE', KEYS[1], ARGV[3])
"""
"""KEYS: parcels. ARGV: parcel, the most, lifetime in ms."""

REPLY: Final = """
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return redis.call('PUBLISH', ARGV[3], ARGV[4])
"""
"""KEYS: reply. ARGV: letter, lifetime in ms, channel, what is published there."""

SEND: Final = "return redis.call('PUBLISH', ARGV[1], ARGV[2])"
"""KEYS: any, so that a Cluster knows where to go. ARGV: channel, what is published there."""

RETURN: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('ZREM', KEYS[2], ARGV[2])
return redis.call('DEL', KEYS[1])
"""
"""KEYS: lease, replicas. ARGV: this process, this replica."""
