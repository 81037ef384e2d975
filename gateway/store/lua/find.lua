#!lua flags=allow-oom
-- find(KEYS: inbox, state; ARGV: message_id, needle) -> its envelope | ""
-- The plain message of this id that waits behind the turn at work. needle: the id as it stands in JSON, so that no
-- other envelope has to be decoded.
-- The envelope is not rewritten here: cjson would turn empty lists into objects and round big numbers.
local work = redis.call('HMGET', KEYS[2], 'phase', 'n')
local first = work[1] and tonumber(work[2]) or 0
for _, envelope in ipairs(redis.call('LRANGE', KEYS[1], first, -1)) do
  if string.find(envelope, ARGV[2], 1, true) then
    local kind, json = string.match(envelope, '^%d+ (%a) (.*)$')
    local readable, content = pcall(cjson.decode, json or '')
    if kind == 'm' and readable and type(content) == 'table' and content.message_id == ARGV[1] then return envelope end
  end
end
return ''
