#!lua
-- ingest(KEYS: inbox, state, due, dedupe...; ARGV: conversation, kind, envelope, debounce_ms, cap, dedupe_s, grace_ms)
--   -> {"stored", seq, wake} | {"duplicate", 0, 0} | {"full", 0, 0}
--   kind: "m" message | "c" command | "s" stop command. wake 1: nobody is expected to look soon, publish a wake-up;
--   2: a stop for work in progress, nudge its holder.
-- Why one script: between "not seen yet" and "stored" a second copy of the event may land on another gateway; and a
-- message that is stored without a `due` entry would never be looked at.
-- No allow-oom: when Redis is full intake is refused before any effect, and the platform sends the event again.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local conversation, kind, envelope = ARGV[1], ARGV[2], ARGV[3]
local debounce, cap, ttl, grace = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])

local known = false
for i = 4, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then known = true end
end
if known then
  -- Slack names one message twice; learning the new name keeps its own redeliveries out as well.
  for i = 4, #KEYS do redis.call('SET', KEYS[i], '1', 'EX', ttl) end
  return {'duplicate', 0, 0}
end
local waiting = redis.call('LLEN', KEYS[1])
if waiting >= cap then return {'full', 0, 0} end

local seq = redis.call('HINCRBY', KEYS[2], 'seq', 1)
redis.call('RPUSH', KEYS[1], seq .. ' ' .. kind .. ' ' .. envelope)
for i = 4, #KEYS do redis.call('SET', KEYS[i], '1', 'EX', ttl) end

if kind == 's' and waiting > 0 then
  redis.call('HSET', KEYS[2], 'stop', seq)
  local work = redis.call('HMGET', KEYS[2], 'lease', 'phase')
  if tonumber(work[1] or '0') > now then return {'stored', seq, 2} end
  if work[2] ~= 'replying' then -- a platform that said "slow down" is not asked sooner: nothing is left to be stopped
    redis.call('HDEL', KEYS[2], 'until') -- a parked turn hears the stop now, not when its wait is over
    redis.call('ZADD', KEYS[3], now + grace, conversation)
    return {'stored', seq, 1}
  end
end
if redis.call('ZSCORE', KEYS[3], conversation) then return {'stored', seq, 0} end
if debounce > 0 then redis.call('HSET', KEYS[2], 'until', now + debounce) end
redis.call('ZADD', KEYS[3], now + debounce + grace, conversation)
return {'stored', seq, 1}
