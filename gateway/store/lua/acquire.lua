#!lua flags=allow-oom
-- acquire(KEYS: inbox, state, due, server; ARGV: conversation, owner, lease_ms, max_batch)
--   -> {"held"} | {"not_yet", ms} | {"idle"} | {"taken", fence, now_ms, suspicious, state as a flat list, batch}
-- Gives the right to work on the conversation and, in the same breath, the turn: the unfinished one if its worker died,
-- else a new one made of the waiting messages up to the next command (a command is a turn of its own, and so is a
-- replayed dead letter, kind "r").
-- The fence is Redis's own time, never a counter: a Redis restored from an older copy would hand a counter out twice.
-- The same owner asking again (its answer got lost on the way) finds its own lease and gets the same answer.
-- suspicious 1: Redis is another process than ten minutes ago; it may have been restored from an older copy of its data.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local conversation, owner, lease_ms, max_batch = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local SUSPICIOUS_MS = 600000

-- Redis names each of its processes (run_id). Where INFO is forbidden, or names none, nothing can be told: 0.
local function suspicious()
  local info = redis.pcall('INFO', 'server')
  local run_id = type(info) == 'string' and string.match(info, 'run_id:(%w+)')
  if not run_id then return 0 end
  local known = redis.call('HMGET', KEYS[4], 'run_id', 'since')
  if known[1] ~= run_id then
    known[2] = known[1] and now or 0
    redis.call('HSET', KEYS[4], 'run_id', run_id, 'since', known[2])
  end
  return now - tonumber(known[2]) < SUSPICIOUS_MS and 1 or 0
end

local function answer(fence)
  local n = tonumber(redis.call('HGET', KEYS[2], 'n'))
  local state, batch = redis.call('HGETALL', KEYS[2]), redis.call('LRANGE', KEYS[1], 0, n - 1)
  return {'taken', fence, now, suspicious(), state, batch}
end

-- A dead letter becomes the turn that it was: its messages stand in the inbox again, and what is known of its run and
-- its reply are fields like any others. Returns how many messages; 1 for a letter that cannot be read, which is left as
-- it is for whoever reads the batch. Only text is encoded anew, which cjson does faithfully.
local function take_up(letter)
  local readable, content = pcall(cjson.decode, letter)
  local messages = readable and type(content) == 'table' and content.messages
  if type(messages) ~= 'table' or #messages == 0 then return 1 end
  local kinds = {}
  for i, message in ipairs(messages) do
    local plain, known = pcall(cjson.decode, message)
    if not plain or type(known) ~= 'table' then return 1 end
    kinds[i] = type(known.command) ~= 'string' and 'm' or known.command == 'stop' and 's' or 'c'
  end
  redis.call('LPOP', KEYS[1])
  local seq = redis.call('HINCRBY', KEYS[2], 'seq', #messages) - #messages
  for i = #messages, 1, -1 do redis.call('LPUSH', KEYS[1], (seq + i) .. ' ' .. kinds[i] .. ' ' .. messages[i]) end
  redis.call('HSET', KEYS[2], 'ri', 1)
  redis.call('HSET', KEYS[2], 'over', '') -- also where nobody wrote down which run it was
  for field, value in pairs({key = content.key, over = content.run}) do
    if type(value) == 'string' and value ~= '' then redis.call('HSET', KEYS[2], field, value) end
  end
  -- What an earlier run brought is in its thread, which may have been put away since.
  local same = (content.thread or false) == redis.call('HGET', KEYS[2], 'thread')
  if same and type(content.sent) == 'number' and content.sent > 0 then
    redis.call('HSET', KEYS[2], 'sent', content.sent)
  end
  if content.phase == 'replying' and type(content.parts) == 'table' and #content.parts > 0 then
    redis.call('HSET', KEYS[2], 'phase', 'replying', 'parts', cjson.encode(content.parts))
    redis.call('HSET', KEYS[2], 'outcome', type(content.outcome) == 'string' and content.outcome or '')
    for part, id in pairs(type(content.posted) == 'table' and content.posted or {}) do
      if type(id) == 'string' then redis.call('HSET', KEYS[2], 'mid:' .. part, id) end
    end
    if type(content.intended) == 'number' and content.intended >= 0 then
      redis.call('HSET', KEYS[2], 'psend', content.intended)
    end
  end
  return #messages
end

local held = redis.call('HMGET', KEYS[2], 'lease', 'owner', 'until', 'phase', 'fence')
if held[1] and tonumber(held[1]) > now then
  if held[2] == owner then return answer(held[5]) end
  return {'held'}
end
if held[3] and tonumber(held[3]) > now then
  redis.call('ZADD', KEYS[3], held[3], conversation)
  return {'not_yet', held[3] - now}
end
local waiting = redis.call('LLEN', KEYS[1])
if waiting == 0 then
  redis.call('ZREM', KEYS[3], conversation)
  return {'idle'}
end

-- As text: Lua would print a number of this size as 1.7e+15.
local fence = t[1] .. string.format('%06d', tonumber(t[2]))
if fence == held[5] then fence = fence .. '+' end
if held[4] then
  redis.call('HINCRBY', KEYS[2], 'tries', 1)
else
  local n, letter = 0, nil
  for i, envelope in ipairs(redis.call('LRANGE', KEYS[1], 0, max_batch - 1)) do
    local kind, json = string.match(envelope, '^%d+ (%a) ?(.*)$')
    if kind ~= 'm' then
      if i == 1 then n, letter = 1, kind == 'r' and json or nil end
      break
    end
    n = i
  end
  redis.call('HSET', KEYS[2], 'phase', 'collected', 'tries', 1)
  redis.call('HSET', KEYS[2], 'n', letter and take_up(letter) or n)
end
redis.call('HSET', KEYS[2], 'fence', fence, 'owner', owner, 'lease', now + lease_ms)
redis.call('HDEL', KEYS[2], 'until')
redis.call('ZADD', KEYS[3], now + lease_ms, conversation)
return answer(fence)
