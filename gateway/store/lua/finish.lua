#!lua flags=allow-oom
-- finish(KEYS: inbox, state, due, threads; ARGV: conversation, fence, through_stop, new_thread, grace_ms)
--   -> messages still waiting | -1 not ours or finished before (so it is safe to repeat)
-- Takes the turn's messages out of the inbox, forgets its progress and gives the lease back.
-- through_stop "1": everything up to the stop command is answered by this turn, but for other commands: a /new that was
-- sent before the /stop is still obeyed. The stop mark lasts as long as its command waits: mail before it is stopped, too.
-- new_thread "1": the next turn opens a new thread; the old id is kept for export.
-- Why one script: a message that lands between "the inbox is empty" and "not due any more" would wait for ever.
local held = redis.call('HMGET', KEYS[2], 'fence', 'lease', 'n', 'stop', 'thread')
if held[1] ~= ARGV[2] or not held[2] or not held[3] then return -1 end
local n = tonumber(held[3])
local stop = tonumber(held[4])
local obeyed = {}
if ARGV[3] == '1' and stop then
  for _, envelope in ipairs(redis.call('LRANGE', KEYS[1], n, -1)) do
    local seq, kind = string.match(envelope, '^(%d+) (%a)')
    if tonumber(seq) > stop then break end
    n = n + 1
    if kind == 'c' then table.insert(obeyed, 1, envelope) end
  end
  stop = nil
end
redis.call('LTRIM', KEYS[1], n, -1)
for _, envelope in ipairs(obeyed) do redis.call('LPUSH', KEYS[1], envelope) end
if ARGV[4] == '1' and held[5] then
  redis.call('RPUSH', KEYS[4], held[5])
  redis.call('HDEL', KEYS[2], 'thread')
end
local head = redis.call('LINDEX', KEYS[1], 0)
local stays = {thread = true, seq = true, fence = true}
stays.stop = stop and head and tonumber(string.match(head, '^%d+')) <= stop
for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
  if not stays[field] then redis.call('HDEL', KEYS[2], field) end
end
local waiting = redis.call('LLEN', KEYS[1])
if waiting == 0 then
  redis.call('ZREM', KEYS[3], ARGV[1])
else
  local t = redis.call('TIME')
  redis.call('ZADD', KEYS[3], t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[5]), ARGV[1])
end
return waiting
