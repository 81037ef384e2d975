#!lua flags=allow-oom
-- report(KEYS: workers, sweepers; ARGV: worker, sweeps, here_ms, gone_ms) -> {sweeper...}, sorted by name
-- A worker says that it lives and, with sweeps "1", that it takes its share of the sweep; else it leaves the roster.
-- Redis's time, not the worker's: a host whose clock is off by minutes would count everybody else as gone.
-- A report from the future is dropped, too: after Redis's clock was set back a dead worker would keep its share for as long.
-- allow-oom: two small sorted sets, and in a full Redis accepted work still has to be found.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
for i, gone in ipairs({ARGV[3], ARGV[4]}) do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now - tonumber(gone))
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '(' .. now, '+inf')
end
redis.call('ZADD', KEYS[1], now, ARGV[1])
if ARGV[2] == '1' then
  redis.call('ZADD', KEYS[2], now, ARGV[1])
else
  redis.call('ZREM', KEYS[2], ARGV[1])
end
local names = redis.call('ZRANGE', KEYS[2], 0, -1)
table.sort(names)
return names
