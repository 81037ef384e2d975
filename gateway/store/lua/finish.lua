#!lua flags=allow-oom
-- finish(KEYS: inbox, state, due, threads, last;
--        ARGV: conversation, fence, through_stop, new_thread, grace_ms, keep_reply_ms, turn)
--   -> messages still waiting | -1 not ours or finished before (so it is safe to repeat)
-- Takes the turn's messages out of the inbox, forgets its progress and gives the lease back.
-- through_stop "1": everything up to the stop command is answered by this turn, but for other commands (and replayed
-- letters): a /new that was sent before the /stop is still obeyed. The stop mark lasts as long as its command waits:
-- mail before it is stopped, too. "Before" is the place in the inbox; numbers tell only who arrived first.
-- new_thread "1": the next turn opens a new thread; the old id is kept for export.
-- keep_reply_ms > 0: the turn's parts, if it has any, are kept for as long under `last`.
-- Why one script: a message that lands between "the inbox is empty" and "not due any more" would wait for ever.
local held = redis.call('HMGET', KEYS[2], 'fence', 'lease', 'n', 'stop', 'thread', 'parts', 'hush')
if held[1] ~= ARGV[2] or not held[2] or not held[3] then return -1 end
local n = tonumber(held[3])
local behind = held[4] and redis.call('LRANGE', KEYS[1], n, -1) or {}
local last = 0 -- how many of these the stop mark covers, its own command included; 0: that one does not wait any more
for i, envelope in ipairs(behind) do
  if string.match(envelope, '^%d+') == held[4] then last = i end
end
local obeyed = {}
if ARGV[3] == '1' then
  for i = 1, last do
    local kind = string.match(behind[i], '^%d+ (%a)')
    if kind == 'c' or kind == 'r' then table.insert(obeyed, 1, behind[i]) end
  end
  n, last = n + last, 0
end
redis.call('LTRIM', KEYS[1], n, -1)
for _, envelope in ipairs(obeyed) do redis.call('LPUSH', KEYS[1], envelope) end
if ARGV[4] == '1' and held[5] then
  redis.call('RPUSH', KEYS[4], held[5])
  redis.call('HDEL', KEYS[2], 'thread')
end
if tonumber(ARGV[6]) > 0 and held[6] then
  -- The turn is a few letters and digits, the parts are JSON already: nothing is encoded anew.
  redis.call('SET', KEYS[5], '{"turn":"' .. ARGV[7] .. '","parts":' .. held[6] .. '}', 'PX', ARGV[6])
end
local stays = {thread = true, seq = true, fence = true, stop = last > 0}
for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do
  if not stays[field] then redis.call('HDEL', KEYS[2], field) end
end
local waiting = redis.call('LLEN', KEYS[1])
if waiting == 0 then
  redis.call('ZREM', KEYS[3], ARGV[1])
else
  local t = redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  local from = math.max(now, tonumber(held[7] or '0'))
  if from > now then redis.call('HSET', KEYS[2], 'until', from) end -- a burst is being collected
  redis.call('ZADD', KEYS[3], from + tonumber(ARGV[5]), ARGV[1])
end
return waiting
