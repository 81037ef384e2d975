#!lua flags=allow-oom
-- deliver(KEYS: mailbox; ARGV: text, life_s) -> replies waiting
-- Leaves a reply for a terminal. allow-oom: a full Redis refuses mail, but the answer to what it took gets through.
local waiting = redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return waiting
