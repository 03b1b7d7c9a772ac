-- Tells everyone what was committed: repeatable, and harmless when late, because a revision never goes back.
--
-- KEYS 1 view  2 mailbox  3 events  4 counts  5 leaderboard  6… one `moved` key for each stray ticket
-- ARGV 1 revision  2 settled through  3 snapshot (JSON)  4 most events kept  5 pace sample or ''
--      6 channel  7 news (JSON) or ''  8 number of strays  9 lifetime of `moved` keys in s
--      10 lifetime in s of a sale that is over, or '' for one that is not
--      11 the last ticket that the caller has read in the mailbox, or 0, and 13 the nonce that it had
--      12 the revision of a view that never was and has to give way, or ''
--      14 the first ticket of which the leaderboard may have to know, or ''  15 field of its page  16 ms to remember that
--      17… the stray tickets, then the view's fields and values
--
-- Answers whether this was news, and then what page_has_changed says. Loaded behind view.lua and first_page_changed.lua.

local revision, settled = tonumber(ARGV[1]), tonumber(ARGV[2])
local strays = tonumber(ARGV[8])

-- Where somebody left something else in a key's place, the view is made anew; the mailbox is not ours to throw away.
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end
local line_type = redis.call('TYPE', KEYS[2]).ok
local has_line = line_type == 'stream' or line_type == 'none'

-- An entry under an id that no gate gives out (`0-<ticket>`) is nobody's request. While it is there, or only was, the
-- line can take no ticket, and a stream never forgets its highest id: the others line up in a new stream, as they were.
local last_ticket = nil
if line_type == 'stream' then
  local info, last = redis.call('XINFO', 'STREAM', KEYS[2]), nil
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = info[i + 1] end
  end
  local seq = string.match(last, '^0%-(%d+)$')
  if not seq or #seq > 15 then
    local ours = redis.call('XRANGE', KEYS[2], '-', '0-999999999999999')
    redis.call('DEL', KEYS[2])
    for _, entry in ipairs(ours) do redis.call('XADD', KEYS[2], entry[1], unpack(entry[2])) end
    seq = ours[1] and string.sub(ours[#ours][1], 3)
  end
  last_ticket = tonumber(seq or nil)
end

-- The floor: no ticket at or below `settled` may ever be given out again, whatever Redis has forgotten.
if settled > 0 and has_line then
  local floor = '0-' .. ARGV[2]
  if not last_ticket then
    redis.call('XADD', KEYS[2], floor, 'floor', '1')
    redis.call('XDEL', KEYS[2], floor)
  elseif last_ticket < settled then
    redis.call('XSETID', KEYS[2], floor)
  end
end

-- Strays: admitted under a ticket that was settled under another nonce. They line up anew, and are never dropped.
for i = 1, strays do
  local id = '0-' .. ARGV[16 + i]
  local found = redis.call('XRANGE', KEYS[2], id, id)
  if found[1] then
    local entry, original, key, user, kind, quantity = {}, ARGV[16 + i], nil, nil, nil, nil
    local fields = found[1][2]
    for j = 1, #fields, 2 do
      local name, value = fields[j], fields[j + 1]
      if name == 'o' then original = value else
        entry[#entry + 1] = name
        entry[#entry + 1] = value
      end
      if name == 'i' then key = value elseif name == 'u' then user = value
      elseif name == 'k' then kind = value elseif name == 'q' then quantity = value end
    end
    entry[#entry + 1] = 'o'
    entry[#entry + 1] = original
    local ticket = string.sub(redis.call('XADD', KEYS[2], '0-*', unpack(entry)), 3)
    redis.call('XDEL', KEYS[2], id)
    redis.call('SET', KEYS[5 + i], ticket, 'EX', ARGV[9])
    if key and user and kind and quantity then
      local idempotency = string.gsub(KEYS[1], 'view$', '') .. 'key:' .. user .. ':' .. key
      redis.call('SET', idempotency, ticket .. ':' .. kind .. quantity, 'EX', ARGV[9])
    end
  end
end

-- Only what was read. A Redis that came back from the past admits under used tickets until it hears of the floor, and
-- what lies under the last ticket is then somebody else's, or not there yet: they are sorted out by whoever reads next.
-- Streams lose their ends, never their middles: where the last is as it was read, so is all that lies before it.
local function is_as_it_was_read()
  if ARGV[13] == '' then return true end
  local id = '0-' .. ARGV[11]
  local found = redis.call('XRANGE', KEYS[2], id, id)
  local fields, nonce = found[1] and found[1][2] or {}, nil
  -- Of a name that stands there twice, the reader has the last.
  for i = 1, #fields, 2 do
    if fields[i] == 'n' then nonce = fields[i + 1] end
  end
  return nonce == ARGV[13]
end

if has_line and is_as_it_was_read() then
  redis.call('XTRIM', KEYS[2], 'MINID', '=', '0-' .. string.format('%.0f', math.min(settled, tonumber(ARGV[11])) + 1))
end

-- A view that cannot be read, and one of a time that never was, gives way to any that is.
local known = redis.call('HGET', KEYS[1], 'revision')
local sound = is_sound(unpack(redis.call('HMGET', KEYS[1], 'starts_ms', 'ends_ms', 'remaining', 'settled_through',
                                         'max_per_purchase', 'max_per_user', 'dedicated')))
if not sound or known == ARGV[12] then redis.call('DEL', KEYS[1]) end
known = sound and known ~= ARGV[12] and is_number(known) and tonumber(known) or nil
local newer = not known or known < revision
if newer then
  local view = {}
  for i = 17 + strays, #ARGV do view[#view + 1] = ARGV[i] end
  redis.call('HSET', KEYS[1], unpack(view))
  if ARGV[5] ~= '' then
    local pace = tonumber(redis.call('HGET', KEYS[1], 'pace') or nil)
    local sample = tonumber(ARGV[5])
    -- Anything else, `nan` too, is no pace.
    if pace and pace >= 0 and pace < 1e9 then sample = 0.7 * pace + 0.3 * sample end
    redis.call('HSET', KEYS[1], 'pace', string.format('%.1f', sample))
  end
  redis.pcall('XADD', KEYS[3], 'MAXLEN', '~', ARGV[4], ARGV[1] .. '-1', 's', ARGV[3])
end

-- What is over is forgotten after a while, unless somebody still waits; the gate asks PostgreSQL if anyone comes.
if newer then
  for i = 1, 4 do
    if ARGV[10] ~= '' and has_line and redis.call('XLEN', KEYS[2]) == 0 then
      redis.call('EXPIRE', KEYS[i], ARGV[10])
    else
      redis.call('PERSIST', KEYS[i])
    end
  end
end

if ARGV[7] ~= '' and (newer or strays > 0 or string.find(ARGV[7], '"outcomes":[[', 1, true)) then
  redis.call('PUBLISH', ARGV[6], ARGV[7])
end
if ARGV[14] == '' then return {newer and 1 or 0, 0} end
return {newer and 1 or 0, unpack(page_has_changed(KEYS[5], ARGV[1], ARGV[15], ARGV[14], ARGV[16]))}
