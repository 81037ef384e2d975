#!lua flags=allow-oom
-- acquire(KEYS: inbox, state, due; ARGV: conversation, owner, lease_ms, max_batch)
--   -> {"held"} | {"not_yet", ms} | {"idle"} | {"taken", fence, now_ms, state as a flat list, batch}
-- Gives the right to work on the conversation and, in the same breath, the turn: the unfinished one if its worker died,
-- else a new one made of the waiting messages up to the next command (a command is a turn of its own).
-- The fence is Redis's own time, never a counter: a Redis restored from an older copy would hand a counter out twice.
-- The same owner asking again (its answer got lost on the way) finds its own lease and gets the same answer.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local conversation, owner, lease_ms, max_batch = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

local function answer(fence)
  local n = tonumber(redis.call('HGET', KEYS[2], 'n'))
  return {'taken', fence, now, redis.call('HGETALL', KEYS[2]), redis.call('LRANGE', KEYS[1], 0, n - 1)}
end

local held = redis.call('HMGET', KEYS[2], 'lease', 'owner', 'until', 'phase', 'fence')
if held[1] and tonumber(held[1]) > now then
  if held[2] == owner then return answer(held[5]) end
  return {'held'}
end
if held[3] and tonumber(held[3]) > now then
  redis.call('ZADD', KEYS[3], held[3], conversation)
  return {'not_yet', held[3] - now}
end
local waiting = redis.call('LLEN', KEYS[1])
if waiting == 0 then
  redis.call('ZREM', KEYS[3], conversation)
  return {'idle'}
end

-- As text: Lua would print a number of this size as 1.7e+15.
local fence = t[1] .. string.format('%06d', tonumber(t[2]))
if fence == held[5] then fence = fence .. '+' end
if held[4] then
  redis.call('HINCRBY', KEYS[2], 'tries', 1)
else
  local n = 0
  for i, envelope in ipairs(redis.call('LRANGE', KEYS[1], 0, max_batch - 1)) do
    local kind = string.match(envelope, '^%d+ (%a)')
    if kind ~= 'm' then
      if i == 1 then n = 1 end
      break
    end
    n = i
  end
  redis.call('HSET', KEYS[2], 'phase', 'collected', 'n', n, 'tries', 1)
end
redis.call('HSET', KEYS[2], 'fence', fence, 'owner', owner, 'lease', now + lease_ms)
redis.call('HDEL', KEYS[2], 'until')
redis.call('ZADD', KEYS[3], now + lease_ms, conversation)
return answer(fence)
