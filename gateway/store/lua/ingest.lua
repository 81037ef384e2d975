#!lua
-- ingest(KEYS: inbox, state, due, amended, dedupe...;
--        ARGV: conversation, kind, envelope, debounce_ms, cap, dedupe_s, grace_ms, order)
--   -> {"stored", seq, wake, amended} | {"duplicate", 0, 0, amended} | {"full", 0, 0, ""}
--   kind: "m" message | "c" command | "s" stop command. wake 1: nobody is expected to look soon, publish a wake-up;
--   2: a stop for work in progress, nudge its holder; 3: mail for a conversation that somebody holds, nudge as well.
--   order: the platform's own number, 0 for none. A message is put before those behind the turn at work that have a
--   greater one: two gateways may store two messages the wrong way round. One without a number keeps its place.
--   amended: an edit or a deletion that overtook its message, for the caller to apply; "" for none.
-- A burst that begins while a turn is at work has its wait after it: `hush` is when that ends, finish turns it into one.
-- Why one script: between "not seen yet" and "stored" a second copy of the event may land on another gateway; and a
-- message that is stored without a `due` entry would never be looked at.
-- No allow-oom: when Redis is full intake is refused before any effect, and the platform sends the event again.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local conversation, kind, envelope = ARGV[1], ARGV[2], ARGV[3]
local debounce, cap, ttl, grace = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local order = tonumber(ARGV[8])

local known = false
for i = 5, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then known = true end
end
if known then
  -- Slack names one message twice; learning the new name keeps its own redeliveries out as well.
  for i = 5, #KEYS do redis.call('SET', KEYS[i], '1', 'EX', ttl) end
  return {'duplicate', 0, 0, redis.call('GET', KEYS[4]) or ''}
end
local waiting = redis.call('LLEN', KEYS[1])
if kind ~= 'm' then cap = cap + math.floor(cap / 25) end -- who is flooded must be able to say stop
if waiting >= cap then return {'full', 0, 0, ''} end

-- Where it belongs: `at` messages stand before it. `before` is the envelope it is put in front of, `passed` the last
-- stop command behind it.
local work = redis.call('HMGET', KEYS[2], 'lease', 'phase', 'n')
local first = work[2] and tonumber(work[3]) or 0
local at, before, passed = waiting, nil, nil
while order > 0 and at > first do
  local other = redis.call('LINDEX', KEYS[1], at - 1)
  local number, of, json = string.match(other, '^(%d+) (%a) (.*)$')
  local readable, content = pcall(cjson.decode, json or '')
  if not readable or type(content) ~= 'table' then break end
  if (tonumber(content.order) or 0) <= order then break end
  at, before = at - 1, other
  if of == 's' and not passed then passed = number end
end

local seq = redis.call('HINCRBY', KEYS[2], 'seq', 1)
local stored = seq .. ' ' .. kind .. ' ' .. envelope
if before then
  redis.call('LINSERT', KEYS[1], 'BEFORE', before, stored) -- the numbers in front make each envelope unique
else
  redis.call('RPUSH', KEYS[1], stored)
end
for i = 5, #KEYS do redis.call('SET', KEYS[i], '1', 'EX', ttl) end

local function answer(wake) return {'stored', seq, wake, redis.call('GET', KEYS[4]) or ''} end
if work[2] and kind ~= 'm' then
  redis.call('HDEL', KEYS[2], 'hush') -- a command is not kept waiting
elseif work[2] and debounce > 0 then
  redis.call('HSETNX', KEYS[2], 'hush', now + debounce)
end

-- The stop mark is the number of the last stop command that has something before it: that is what it stops.
local held = tonumber(work[1] or '0') > now
if passed then redis.call('HSET', KEYS[2], 'stop', passed) end
if kind == 's' and at > 0 then
  if not passed then redis.call('HSET', KEYS[2], 'stop', seq) end
  if held then return answer(2) end
  if work[2] ~= 'replying' then -- a platform that said "slow down" is not asked sooner: nothing is left to be stopped
    redis.call('HDEL', KEYS[2], 'until') -- a parked turn hears the stop now, not when its wait is over
    redis.call('ZADD', KEYS[3], now + grace, conversation)
    return answer(1)
  end
end
if held then return answer(kind == 'm' and 3 or 0) end
if redis.call('ZSCORE', KEYS[3], conversation) then return answer(0) end
if debounce > 0 then redis.call('HSET', KEYS[2], 'until', now + debounce) end
redis.call('ZADD', KEYS[3], now + debounce + grace, conversation)
return answer(1)
