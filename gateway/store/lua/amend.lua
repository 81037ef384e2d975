#!lua
-- amend(KEYS: inbox, state; ARGV: envelope, replacement) -> 1 | 0 it is not there, or not like this any more
-- Puts an edited message in the place of what `find` answered, unless the turn at work has taken it meanwhile, or
-- somebody else has changed it: then the caller looks again.
-- No allow-oom: the new text may be longer. A full Redis refuses it, and the platform sends the edit again.
local at = redis.call('LPOS', KEYS[1], ARGV[1])
if not at then return 0 end
local work = redis.call('HMGET', KEYS[2], 'phase', 'n')
if work[1] and at < tonumber(work[2]) then return 0 end
redis.call('LSET', KEYS[1], at, ARGV[2])
return 1
