#!lua
-- replay_dead(KEYS: dead, index, inbox, state, due; ARGV: conversation, letter, grace_ms, kind, envelope, ...)
--   -> {0, 0} it is not there (any more) | {1, wake}. wake 1: nobody is expected to look soon, publish a wake-up.
-- Puts a dead letter back at the end of its conversation's inbox: behind what waits there, before what is still to come.
-- Why one script: a letter that is replayed twice, or replayed and lost, would break the promise it was kept for.
-- No allow-oom: when Redis is full the letter stays where it is.
local conversation, letter, grace = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('LREM', KEYS[1], 0, letter) == 0 then return {0, 0} end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], conversation) end
for i = 4, #ARGV, 2 do
  local seq = redis.call('HINCRBY', KEYS[4], 'seq', 1)
  redis.call('RPUSH', KEYS[3], seq .. ' ' .. ARGV[i] .. ' ' .. ARGV[i + 1])
end
if redis.call('ZSCORE', KEYS[5], conversation) then return {1, 0} end
local t = redis.call('TIME')
redis.call('ZADD', KEYS[5], t[1] * 1000 + math.floor(t[2] / 1000) + grace, conversation)
return {1, 1}
