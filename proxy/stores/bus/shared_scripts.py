"""What a Redis or Valkey server does for shared limits: each script is one step that nothing comes between.

One identity's keys share a slot of a Cluster, so that a script may use them all. With it they are:

    …:at        hash: each process that runs streams of it, to when its lease is over, in ms of the server's clock
    …:at:PROCESS   set: the numbers of its streams
    …:used:PER:LENGTH:NUMBER:USER   hash: each replica to what it has used within that window

Whatever else stands there was written by somebody else: it is thrown away, and counted.
"""

from typing import Final

MOST_ENTRIES: Final = 5000
"""Replicas of one account; of more, most were made up."""
FARTHEST_MS: Final = 3_600_000
"""No lease is longer."""

_LIVE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function set_kind(key, kind)
  local found = redis.call('TYPE', key).ok
  if found == kind or found == 'none' then return 0 end
  redis.call('DEL', key)
  return 1
end
"""

TAKE: Final = (
    _LIVE
    + """
local own, number, most, known, lease, prefix = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], ARGV[6]
local refused, mine = set_kind(KEYS[1], 'hash'), prefix .. own
refused = refused + set_kind(mine, 'set')
redis.call('SREM', mine, number)
local running = redis.call('SCARD', mine)
if running < known then return {-1, running, refused} end
local all = redis.call('HGETALL', KEYS[1])
for k = 1, #all, 2 do
  if all[k] ~= own then
    local theirs, ends = prefix .. all[k], tonumber(all[k + 1])
    if ends and ends > now and ends <= now + tonumber(ARGV[7]) then
      refused = refused + set_kind(theirs, 'set')
      running = running + redis.call('SCARD', theirs)
    else
      if not (ends and ends <= now) then refused = refused + 1 end
      redis.call('HDEL', KEYS[1], all[k])
      redis.call('DEL', theirs)
    end
  end
end
if running >= most then return {0, running, refused} end
redis.call('SADD', mine, number)
redis.call('HSET', KEYS[1], own, string.format('%.0f', now + lease))
redis.call('PEXPIRE', mine, lease * 2)
redis.call('PEXPIRE', KEYS[1], lease * 2)
return {1, running + 1, refused}
"""
)
"""KEYS: at. ARGV: process, number, the most, how many are known here, lease in ms, prefix of the sets, farthest."""

FREE: Final = """
return redis.call('SREM', KEYS[1], ARGV[1])
"""
"""KEYS: the process's set. ARGV: number."""

KEEP: Final = (
    _LIVE
    + """
set_kind(KEYS[1], 'hash')
set_kind(KEYS[2], 'set')
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[2] * 2)
redis.call('PEXPIRE', KEYS[2], ARGV[2] * 2)
return redis.call('SCARD', KEYS[2])
"""
)
"""KEYS: at, the process's set. ARGV: process, lease in ms."""

SAY: Final = (
    _LIVE
    + """
set_kind(KEYS[1], 'hash')
redis.call('DEL', KEYS[2])
for k = 3, #ARGV do redis.call('SADD', KEYS[2], ARGV[k]) end
if #ARGV < 3 then return redis.call('HDEL', KEYS[1], ARGV[1]) end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[2] * 2)
return redis.call('PEXPIRE', KEYS[2], ARGV[2] * 2)
"""
)
"""KEYS: at, the process's set. ARGV: process, lease in ms, the numbers."""

MARK: Final = """
local mark = redis.call('GET', KEYS[1])
if not mark then
  mark = ARGV[1]
  redis.call('SET', KEYS[1], mark)
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return mark
"""
"""KEYS: mark. ARGV: a new one, its lifetime in ms."""

EXCHANGE: Final = """
local all = {}
for k = 1, #KEYS do
  local key, words, refused = KEYS[k], {}, 0
  for word in string.gmatch(ARGV[k], '%S+') do words[#words + 1] = word end
  local kind = redis.call('TYPE', key).ok
  if (kind ~= 'hash' and kind ~= 'none') or (kind == 'hash' and redis.call('HLEN', key) > MOST) then
    redis.call('DEL', key)
    refused = 1
  end
  if #words > 1 then redis.call('HSET', key, unpack(words, 2)) end
  redis.call('PEXPIRE', key, words[1])
  local found = redis.call('HGETALL', key)
  local lines = {}
  for f = 1, #found, 2 do
    local name, entry = found[f], found[f + 1]
    if #name < 256 and #entry < 76 and not string.find(name, '[^!-~]') and string.find(entry, '^%d+/%d+/%d+$') then
      lines[#lines + 1] = name .. ' ' .. entry
    else
      redis.call('HDEL', key, name)
      refused = refused + 1
    end
  end
  table.insert(lines, 1, refused)
  all[k] = table.concat(lines, '\\n')
end
return table.concat(all, '\\t')
""".replace("MOST", str(MOST_ENTRIES))
"""KEYS: the accounts. ARGV for each: its lifetime in ms, and replica and entry of what is said, in words.
Gives for each what was refused and the entries that stand there then, in lines; one string for all is read soonest."""
