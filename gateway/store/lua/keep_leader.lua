#!lua flags=allow-oom
-- keep_leader(KEYS: leader; ARGV: owner, ttl_ms) -> 1 ours (taken or renewed) | 0 somebody else's. ttl 0 gives it back.
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
