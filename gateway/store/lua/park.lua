#!lua flags=allow-oom
-- park(KEYS: state, due; ARGV: conversation, fence, delay_ms, clean, heard, field, value, ...) -> 1 | 0 not ours
-- Puts a turn down until a time: its slot is free meanwhile, and any worker takes it up again.
-- clean "1": the turn was put down on purpose, which does not count as a failed try.
-- heard "1": a stop that was asked for is known to whoever parks, and does not shorten the delay.
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[2] then return 0 end
if not redis.call('HGET', KEYS[1], 'lease') then return 0 end
for i = 6, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local delay = tonumber(ARGV[3])
local work = redis.call('HMGET', KEYS[1], 'stop', 'phase')
-- A stop that came meanwhile does not wait for the other side. One that was heard does, or a backend that is away would
-- be asked without a pause; and so does a reply, which cannot be stopped any more.
if work[1] and ARGV[5] ~= '1' and work[2] ~= 'replying' then delay = 0 end
redis.call('HDEL', KEYS[1], 'lease', 'owner')
if ARGV[4] == '1' then redis.call('HINCRBY', KEYS[1], 'tries', -1) end
if delay > 0 then redis.call('HSET', KEYS[1], 'until', now + delay) end
redis.call('ZADD', KEYS[2], now + delay, ARGV[1])
return 1
