#!lua flags=allow-oom
-- drop_dead(KEYS: dead, index; ARGV: conversation, letter) -> 1 | 0 it is not there (any more)
-- Removes one dead letter, given whole.
local gone = redis.call('LREM', KEYS[1], 0, ARGV[2])
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('ZREM', KEYS[2], ARGV[1]) end
return gone
