#!lua flags=allow-oom
-- renew(KEYS: due, state, inbox, state, inbox...; ARGV: lease_ms, conversation, fence, ...) -> a number per conversation
--   0 lost, else the sum of 1 ours, 2 stop asked for, 4 plain messages wait directly behind the turn's batch
-- The heartbeat of all turns that one process holds in one partition, in one call.
local t = redis.call('TIME')
local until_ms = t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[1])
local answers = {}
for i = 2, #KEYS, 2 do
  local conversation, fence = ARGV[i], ARGV[i + 1]
  local held = redis.call('HMGET', KEYS[i], 'fence', 'lease', 'stop', 'n')
  local beat = 0
  if held[1] == fence and held[2] then
    redis.call('HSET', KEYS[i], 'lease', until_ms)
    redis.call('ZADD', KEYS[1], until_ms, conversation)
    beat = held[3] and 3 or 1
    local next = held[4] and redis.call('LINDEX', KEYS[i + 1], held[4])
    if next and string.match(next, '^%d+ m') then beat = beat + 4 end
  end
  answers[#answers + 1] = beat
end
return answers
