-- Tells everyone what was committed: repeatable, and harmless when late, because a revision never goes back.
--
-- KEYS 1 view  2 mailbox  3 events  4 counts  5… one `moved` key for each stray ticket
-- ARGV 1 revision  2 settled through  3 snapshot (JSON)  4 most events kept  5 pace sample or ''
--      6 channel  7 news (JSON) or ''  8 number of strays  9 lifetime of `moved` keys in s
--      10 lifetime in s of a sale that is over, or '' for one that is not
--      11… the stray tickets, then the view's fields and values

local revision, settled = tonumber(ARGV[1]), tonumber(ARGV[2])
local strays = tonumber(ARGV[8])

-- The floor: no ticket at or below `settled` may ever be given out again, whatever Redis has forgotten.
if settled > 0 then
  local floor = '0-' .. ARGV[2]
  if redis.call('EXISTS', KEYS[2]) == 0 then
    redis.call('XADD', KEYS[2], floor, 'floor', '1')
    redis.call('XDEL', KEYS[2], floor)
  else
    local info = redis.call('XINFO', 'STREAM', KEYS[2])
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' and tonumber(string.match(info[i + 1], '%-(%d+)$')) < settled then
        redis.call('XSETID', KEYS[2], floor)
      end
    end
  end
end

-- Strays: admitted under a ticket that was settled under another nonce. They line up anew, and are never dropped.
for i = 1, strays do
  local id = '0-' .. ARGV[10 + i]
  local found = redis.call('XRANGE', KEYS[2], id, id)
  if found[1] then
    local entry, original, key, user, kind, quantity = {}, ARGV[10 + i], nil, nil, nil, nil
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
    redis.call('SET', KEYS[4 + i], ticket, 'EX', ARGV[9])
    if key and user and kind and quantity then
      local idempotency = string.gsub(KEYS[1], 'view$', '') .. 'key:' .. user .. ':' .. key
      redis.call('SET', idempotency, ticket .. ':' .. kind .. quantity, 'EX', ARGV[9])
    end
  end
end

if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('XTRIM', KEYS[2], 'MINID', '=', '0-' .. string.format('%.0f', settled + 1))
end

local known = redis.call('HGET', KEYS[1], 'revision')
local newer = not known or tonumber(known) < revision
if newer then
  local view = {}
  for i = 11 + strays, #ARGV do view[#view + 1] = ARGV[i] end
  redis.call('HSET', KEYS[1], unpack(view))
  if ARGV[5] ~= '' then
    local pace = redis.call('HGET', KEYS[1], 'pace')
    local sample = tonumber(ARGV[5])
    if pace then sample = 0.7 * tonumber(pace) + 0.3 * sample end
    redis.call('HSET', KEYS[1], 'pace', string.format('%.1f', sample))
  end
  redis.pcall('XADD', KEYS[3], 'MAXLEN', '~', ARGV[4], ARGV[1] .. '-1', 's', ARGV[3])
end

-- What is over is forgotten after a while, unless somebody still waits; the gate asks PostgreSQL if anyone comes.
if newer then
  for i = 1, 4 do
    if ARGV[10] ~= '' and redis.call('XLEN', KEYS[2]) == 0 then
      redis.call('EXPIRE', KEYS[i], ARGV[10])
    else
      redis.call('PERSIST', KEYS[i])
    end
  end
end

if ARGV[7] ~= '' and (newer or strays > 0 or string.find(ARGV[7], '"outcomes":[[', 1, true)) then
  redis.call('PUBLISH', ARGV[6], ARGV[7])
end
return newer and 1 or 0
