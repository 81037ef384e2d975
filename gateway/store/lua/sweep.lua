#!lua flags=allow-oom
-- sweep(KEYS: due...; ARGV: ours, limit, again_ms, late_ms) -> {how many are due, conversation...}
-- Names what is due and unheld in the first `ours` partitions, in each the oldest first, and puts it off by again_ms so
-- that the fleet does not wake it a second time before the first one had its chance. Of the others' partitions it names
-- what has been due for late_ms: their worker is dead or busy, and the roster does not know it yet. All are counted.
-- Held conversations are not due: their entry is the end of their lease.
-- One call for all partitions: a fleet of idle workers costs a few round trips a second. On a Redis Cluster, which our
-- client does not support, group by slot there: each partition is a slot of its own.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local ours, left, late, all, found = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[4]), 0, {}
for i, due in ipairs(KEYS) do
  local here = redis.call('ZCOUNT', due, '-inf', now)
  all = all + here
  if here > 0 and left > 0 then
    local since = i <= ours and now or now - late
    local named = redis.call('ZRANGEBYSCORE', due, '-inf', since, 'LIMIT', 0, left)
    for _, conversation in ipairs(named) do
      redis.call('ZADD', due, 'XX', now + tonumber(ARGV[3]), conversation)
      found[#found + 1] = conversation
    end
    left = left - #named
  end
end
table.insert(found, 1, all)
return found
