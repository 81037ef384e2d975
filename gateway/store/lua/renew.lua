#!lua flags=allow-oom
-- renew(KEYS: due, state...; ARGV: lease_ms, conversation, fence, ...) -> one of 1 ours | 2 ours, stop asked for | 0 lost, per state
-- The heartbeat of all turns that one process holds in one partition, in one call.
local t = redis.call('TIME')
local until_ms = t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[1])
local answers = {}
for i = 2, #KEYS do
  local conversation, fence = ARGV[2 * i - 2], ARGV[2 * i - 1]
  local held = redis.call('HMGET', KEYS[i], 'fence', 'lease', 'stop')
  if held[1] == fence and held[2] then
    redis.call('HSET', KEYS[i], 'lease', until_ms)
    redis.call('ZADD', KEYS[1], until_ms, conversation)
    answers[i - 1] = held[3] and 2 or 1
  else
    answers[i - 1] = 0
  end
end
return answers
