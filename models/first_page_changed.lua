-- Whether the page of a sale's first confirmed purchases that is kept (models/first_page.py) has to be read anew, behind
-- a change of purchases from a ticket on, with this revision of the sale. Answers {1, seconds, microseconds} by this
-- clock, or {0}. To be asked last: what it writes goes no further than this memory, and so does all behind it.
local function page_has_changed(key, revision, field, first, kept_ms)
  -- Where somebody left something else in the key's place, nothing is kept.
  if redis.call('TYPE', key).ok ~= 'hash' then redis.call('DEL', key) end
  if redis.call('HEXISTS', key, field) == 1 then
    local ends = tonumber(redis.call('HGET', key, 'ends') or nil)
    -- It is full, and all that changed comes behind it.
    if ends and ends < tonumber(first) then return {0} end
    return {1, unpack(redis.call('TIME'))}
  end
  -- Nobody looked lately. Whoever does at this moment may have read what was before, and must not keep that; so much is
  -- remembered, in memory alone.
  redis.set_repl(redis.REPL_NONE)
  local known = tonumber(redis.call('HGET', key, 'revision') or nil)
  if not known or known < tonumber(revision) then redis.call('HSET', key, 'revision', revision) end
  redis.call('PEXPIRE', key, kept_ms)
  return {0}
end
