-- A look at one's purchase: whether whoever looks may, and what of it waits in line, in one step that writes nothing to
-- the disk.
--
-- Three parts, each with its keys and arguments one behind the other, and each left out where it is not asked for. On one
-- server all are asked at once; on a cluster each is asked of its own shard, in the same order (models/looks.py).
--
-- the token   KEYS revoked, generation, ARGV generation of the token (asker.lua)
-- limits      KEYS one for each, ARGV amount and window in ms of each (limit.lua)
-- the line    KEYS view (hash), mailbox (stream), ARGV the id of the purchase's entry
--
-- Before all other ARGV: whether the token is asked about (1 or 0), number of limits, whether the line is (1 or 0).
--
-- Answers {'REVOKED'}; {'RATE_LIMITED', which limit, how many ms to wait}; {'PASSED', fields of the entry (none where it
-- does not wait), through which ticket all were told, pace}. Loaded behind limit.lua and asker.lua.

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local asks_token, limits, asks_line = ARGV[1] == '1', tonumber(ARGV[2]), ARGV[3] == '1'
local key, arg = 1, 4

-- As in gate.lua: nobody who only looks waits for the disk.
redis.set_repl(redis.REPL_NONE)

if asks_token then
  if is_given_back(key, arg) then return {'REVOKED'} end
  key, arg = key + 2, arg + 1
end

if limits > 0 then
  local left, which, wait_ms = take(limits, key, arg, now_ms)
  if not left then return {'RATE_LIMITED', which, wait_ms} end
  key, arg = key + limits, arg + 2 * limits
end

if not asks_line then return {'PASSED', {}, '', ''} end
local found = redis.call('XRANGE', KEYS[key + 1], ARGV[arg], ARGV[arg])[1]
local settled, pace = unpack(redis.call('HMGET', KEYS[key], 'settled_through', 'pace'))
return {'PASSED', found and found[2] or {}, settled or '', pace or ''}
