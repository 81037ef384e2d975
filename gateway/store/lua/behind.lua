#!lua flags=allow-oom
-- behind(KEYS: inbox, state; ARGV: fence, limit) -> {1, envelope...} | {0} not ours
-- The plain messages directly behind the turn's batch, up to the next command. Changes nothing.
-- Why a script: between "where the batch ends" and "what comes then" another holder may have finished the turn.
local held = redis.call('HMGET', KEYS[2], 'fence', 'lease', 'n')
if held[1] ~= ARGV[1] or not held[2] or not held[3] then return {0} end
local found = {1}
for _, envelope in ipairs(redis.call('LRANGE', KEYS[1], held[3], held[3] + ARGV[2] - 1)) do
  if not string.match(envelope, '^%d+ m') then break end
  found[#found + 1] = envelope
end
return found
