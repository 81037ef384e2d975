#!lua flags=allow-oom
-- step(KEYS: state, due; ARGV: conversation, fence, lease_ms, field, value, ...) -> {1, stop} | {0, ""}
-- Writes a turn's progress and renews its lease. An empty value deletes the field.
-- 0: the fence is not ours any more, or the turn is finished or put down. Safe to repeat.
-- allow-oom: work that was accepted is brought to its end also when Redis is full.
local held = redis.call('HMGET', KEYS[1], 'fence', 'lease', 'stop')
if held[1] ~= ARGV[2] or not held[2] then return {0, ''} end
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
local t = redis.call('TIME')
local until_ms = t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[3])
redis.call('HSET', KEYS[1], 'lease', until_ms)
redis.call('ZADD', KEYS[2], until_ms, ARGV[1])
return {1, held[3] or ''}
