#!lua flags=allow-oom
-- extend(KEYS: inbox, state, due; ARGV: conversation, fence, lease_ms, max_batch) -> {1, envelope...} | {0} not ours
-- The turn's run has ended and its messages are in the thread; the plain messages that wait directly behind the batch
-- join the turn, and the next run brings just them. Everything that belonged to the run is forgotten. Renews the lease.
-- Answers what joined: nothing where nothing waits or the batch is full, and then nothing is changed.
-- Safe to repeat: as long as the next run was not begun (no ri, no run), the answer is what joined the first time. A
-- turn that has not begun any run yet brings its whole batch, and nothing joins it.
local held = redis.call('HMGET', KEYS[2], 'fence', 'lease', 'n', 'sent', 'ri', 'run')
if held[1] ~= ARGV[2] or not held[2] or not held[3] then return {0} end
local t = redis.call('TIME')
local until_ms = t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[3])
redis.call('HSET', KEYS[2], 'lease', until_ms)
redis.call('ZADD', KEYS[3], until_ms, ARGV[1])

local n, joined = tonumber(held[3]), {1}
if not held[5] and not held[6] then
  local again = held[4] and redis.call('LRANGE', KEYS[1], held[4], n - 1) or {}
  for _, envelope in ipairs(again) do joined[#joined + 1] = envelope end
  return joined
end
-- A command is a turn of its own.
if not string.match(redis.call('LINDEX', KEYS[1], 0), '^%d+ m') then return joined end
if tonumber(ARGV[4]) <= n then return joined end
for _, envelope in ipairs(redis.call('LRANGE', KEYS[1], n, tonumber(ARGV[4]) - 1)) do
  if not string.match(envelope, '^%d+ m') then break end
  joined[#joined + 1] = envelope
end
if #joined == 1 then return joined end

local of_the_run = {run = true, ri = true, over = true, steer = true, started = true, rounds = true,
                    parts = true, outcome = true, psend = true}
for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
  if of_the_run[field] or string.match(field, '^ti?:') or string.match(field, '^mid:') then
    redis.call('HDEL', KEYS[2], field)
  end
end
redis.call('HSET', KEYS[2], 'phase', 'collected', 'tries', 1, 'sent', n, 'n', n + #joined - 1)
return joined
