#!lua flags=allow-oom
-- withdraw(KEYS: inbox, state, due; ARGV: conversation, message_id, needle) -> 1 | 0 it does not wait (any more)
-- Takes a message that was deleted out of the inbox, unless the turn at work has taken it. needle as in `find`.
-- A stop command stays: it was heard already. The message's dedupe keys stay as well, a redelivery is not to bring it
-- back.
-- Why one script: an inbox that is emptied while a message lands would take that one's due entry along.
local work = redis.call('HMGET', KEYS[2], 'phase', 'n')
local first = work[1] and tonumber(work[2]) or 0
for _, envelope in ipairs(redis.call('LRANGE', KEYS[1], first, -1)) do
  if string.find(envelope, ARGV[3], 1, true) then
    local kind, json = string.match(envelope, '^%d+ (%a) (.*)$')
    local readable, content = pcall(cjson.decode, json or '')
    local known = readable and type(content) == 'table' and content.message_id == ARGV[2]
    if known and (kind == 'm' or kind == 'c') then
      redis.call('LREM', KEYS[1], 1, envelope)
      if redis.call('LLEN', KEYS[1]) == 0 then
        redis.call('HDEL', KEYS[2], 'until')
        redis.call('ZREM', KEYS[3], ARGV[1])
      end
      return 1
    end
  end
end
return 0
