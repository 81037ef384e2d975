#!lua
-- knock(KEYS: paired, told, guesses, code;
--       ARGV: person, event, code, name, pairing, tell, max_guesses, guesses_s, told_s)
--   -> "in" | "paired" | "refused" | "wrong_code" | "too_many_codes" | "silent"
-- Somebody who is not on the list has said something. `code`: the fingerprint of the pairing code that it is, "" for
-- none (KEYS[4] is not looked at then). `pairing` 0: who is paired does not count. "silent": not let in, and told so before.
-- Why one script: a code lets one person in, whoever else sends it in the same instant; and one refusal is told, however
-- many replicas hear the person. Repeatable: the same event, or the same code by the person it has paired, gets the same
-- answer, so that a gateway that died over it is made up for when the platform sends the event again.
local person, event, code, name = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local pairing, tell, max, guesses_s, told_s = ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8], ARGV[9]

local known = pairing == '1' and redis.call('HGET', KEYS[1], person)
if known then
  if code ~= '' and cjson.decode(known).code == code then return 'paired' end
  return 'in'
end
if code ~= '' then
  if tonumber(redis.call('GET', KEYS[3]) or '0') >= max then return 'silent' end
  if redis.call('DEL', KEYS[4]) == 1 then
    local t = redis.call('TIME')
    local at_ms = t[1] * 1000 + math.floor(t[2] / 1000)
    redis.call('HSET', KEYS[1], person, cjson.encode({at_ms = at_ms, name = name, code = code}))
    redis.call('DEL', KEYS[2], KEYS[3])
    return 'paired'
  end
  local guesses = redis.call('INCR', KEYS[3])
  if guesses == 1 then redis.call('EXPIRE', KEYS[3], guesses_s) end
  return guesses < max and 'wrong_code' or 'too_many_codes'
end
if tell == '0' then return 'silent' end
local told = redis.call('GET', KEYS[2])
if told and told ~= event then return 'silent' end
if not told then redis.call('SET', KEYS[2], event, 'EX', told_s) end
return 'refused'
