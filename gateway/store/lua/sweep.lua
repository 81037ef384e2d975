#!lua flags=allow-oom
-- sweep(KEYS: due; ARGV: limit, again_ms) -> {how many are due, conversation...}
-- Names what is due and unheld, oldest first, and puts each off by again_ms so that the fleet does not publish a second
-- wake-up before the first one had its chance. limit 0 only counts. Held conversations are not due: their entry is the end of their lease.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local all = redis.call('ZCOUNT', KEYS[1], '-inf', now)
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, tonumber(ARGV[1]))
for _, conversation in ipairs(found) do redis.call('ZADD', KEYS[1], 'XX', now + tonumber(ARGV[2]), conversation) end
table.insert(found, 1, all)
return found
