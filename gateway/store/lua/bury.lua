#!lua flags=allow-oom
-- bury(KEYS: dead, index; ARGV: conversation, letter, beginning, at_ms, kept, life_s) -> 1 | 0 it is there already
-- Keeps a turn that is given up, newest first, and notes the conversation for whoever lists them all. Once for each
-- letter, which its beginning (the id) names: whoever buried it may have died before the turn was finished.
-- allow-oom: giving up is a way of finishing, and frees more than it takes.
local conversation, beginning, at_ms, life_s = ARGV[1], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[6])
for _, letter in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  if string.sub(letter, 1, #beginning) == beginning then return 0 end
end
redis.call('LPUSH', KEYS[1], ARGV[2])
redis.call('LTRIM', KEYS[1], 0, tonumber(ARGV[5]) - 1)
redis.call('EXPIRE', KEYS[1], life_s)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', at_ms - life_s * 1000) -- their letters have ended
redis.call('ZADD', KEYS[2], 'GT', at_ms, conversation)
return 1
