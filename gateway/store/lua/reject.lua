#!lua flags=allow-oom
-- reject(KEYS: inbox, state; ARGV: fence, envelope...) -> how many were taken out | -1 not ours
-- Takes exactly these messages out of the inbox, unanswered: their senders were told so. One that was edited meanwhile
-- is another one, and stays; the turn's own batch stays in any case. Safe to repeat.
local held = redis.call('HMGET', KEYS[2], 'fence', 'lease', 'n')
if held[1] ~= ARGV[1] or not held[2] or not held[3] then return -1 end
local removed = 0
for i = 2, #ARGV do
  local at = redis.call('LPOS', KEYS[1], ARGV[i])
  if at and at >= tonumber(held[3]) then removed = removed + redis.call('LREM', KEYS[1], 1, ARGV[i]) end
end
return removed
