-- A sale's first confirmed purchases may be others now: whether the page that is kept has to be read anew.
-- KEYS[1] the page; ARGV: revision of the sale that changed them, field, first ticket that changed, ms to remember it.
-- Answers {1, seconds, microseconds} by this clock, or {0}.
if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 1 then
  local ends = tonumber(redis.call('HGET', KEYS[1], 'ends') or nil)
  -- It is full, and all that changed comes behind it.
  if ends and ends < tonumber(ARGV[3]) then return {0} end
  return {1, unpack(redis.call('TIME'))}
end
-- Nobody looked lately. Whoever does at this moment may have read what was before, and must not keep that; so much is
-- remembered, in memory alone.
redis.set_repl(redis.REPL_NONE)
local known = tonumber(redis.call('HGET', KEYS[1], 'revision') or nil)
if not known or known < tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 'revision', ARGV[1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {0}
