#!lua flags=allow-oom
-- bury(KEYS: dead; ARGV: letter, turn, stage, kept, life_s) -> 1 | 0 it is there already
-- Keeps a turn that is given up, newest first. Once: whoever buried it may have died before the turn was finished.
-- allow-oom: giving up is a way of finishing, and frees more than it takes.
local head = redis.call('LINDEX', KEYS[1], 0)
if head then
  local last = cjson.decode(head)
  if last.turn == ARGV[2] and last.stage == ARGV[3] then return 0 end
end
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], 0, tonumber(ARGV[4]) - 1)
redis.call('EXPIRE', KEYS[1], ARGV[5])
return 1
