-- The gate: admits a request into its sale's line, or refuses it, in one atomic step.
--
-- Three parts, each with its keys and arguments one behind the other, and each left out where it is not asked for. On one
-- server all are asked at once; on a cluster their keys lie on different shards, and each is asked of its own, in the
-- same order (models/gateparts.py).
--
-- the sale   KEYS view (hash)      what is known of the sale; missing: the caller rebuilds it from PostgreSQL
--                 mailbox (stream) ids 0-<ticket>; the stream's own last id is the last ticket given out
--                 awake (string)   set while a wake-up is on its way
--                 key (string)     <ticket>:<body> of the request that this Idempotency-Key stands for
--                 counts (hash)    refusals by their code, and `since`: when this count began, in ms
--            ARGV user, kind (p|r), quantity, nonce, idempotency key or '', its lifetime in s, most requests that may
--                 wait, lifetime of the awake flag in ms, W3C traceparent of a request that is traced or '', whether the
--                 caller waits for replicas before it says yes (1) or not (0)
-- who asks   KEYS revoked, generation (asker.lua), then one for each limit
--            ARGV generation of the token, then amount and window in ms of each limit
-- velocity   KEYS two for each signal, ARGV five for each (velocity.lua)
--
-- Before all other ARGV: what is asked of the sale (`line`: a place in it; `seen`: only whether its Idempotency-Key is
-- known; '': nothing), number of limits (-1: nothing is asked of whoever asks), number of signals.
--
-- Answers {code, findings of velocity, …}; ADMITTED and SEEN: ticket, settled through, pace, wake (1: send a wake-up),
-- dedicated queue (1), how many more the limits let in (-1: no limit); PASSED, where nothing is asked of the sale and
-- nothing speaks against whoever asks: how many more; UNSEEN: nothing more. Loaded behind limit.lua, asker.lua,
-- velocity.lua and view.lua.

local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local asked, limits, signals = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
-- Where the next part's keys and arguments begin.
local key, arg = 1, 4
if asked ~= '' then key, arg = 6, 14 end
local left = -1

-- What is counted of whoever asks is kept in memory alone: in the append-only file, every no to a crowd would wait for
-- the disk. What a crash forgets, and a Redis that has no memory for a count, cost an operator a number, and nobody
-- their answer.
redis.set_repl(redis.REPL_NONE)

if limits >= 0 then
  if is_given_back(key, arg) then return {'REVOKED', {}} end
  if limits > 0 then
    local which, wait_ms
    left, which, wait_ms = take(limits, key + 2, arg + 1, now_ms)
    if not left then return {'RATE_LIMITED', {}, which, wait_ms} end
  end
  key, arg = key + 2 + limits, arg + 1 + 2 * limits
end

if asked == '' then
  local refused, findings = judge(signals, key, arg, now_ms)
  if refused then return {'VELOCITY_REFUSED', findings} end
  return {'PASSED', findings, left}
end

local sale = redis.call('HMGET', KEYS[1], 'starts_ms', 'ends_ms', 'state', 'end_reason', 'paused', 'remaining',
                        'max_per_purchase', 'max_per_user', 'settled_through', 'pace', 'dedicated')
local starts_ms, ends_ms, state, end_reason, paused, remaining = unpack(sale, 1, 6)
local max_per_purchase, max_per_user, settled, pace, dedicated = unpack(sale, 7, 11)

local is_known = is_sound(starts_ms, ends_ms, remaining, settled, max_per_purchase, max_per_user, dedicated)

local user, kind, quantity, nonce, idempotency_key = unpack(ARGV, 4, 8)
local body = kind .. quantity
local has_key = idempotency_key ~= ''

-- A retry comes first: it gets the answer of its first try whatever has become of the sale, and of the buyer, since.
if has_key and is_known then
  local seen = redis.call('GET', KEYS[4])
  if seen then
    local ticket, seen_body = string.match(seen, '^(%d+):(.*)$')
    if seen_body ~= body then return {'IDEMPOTENCY_KEY_REUSED', {}} end
    if ARGV[13] == '1' then
      -- Its first try may have been told that too few have it. Replicas are asked about what is written here, and that
      -- comes behind what was written then.
      redis.set_repl(redis.REPL_ALL)
      redis.call('SET', KEYS[4], seen, 'KEEPTTL')
    end
    return {'SEEN', {}, tonumber(ticket), tonumber(settled), pace or '', 0, 0, left}
  end
end

if asked == 'seen' then return {'UNSEEN', {}} end

local refused, findings = judge(signals, key, arg, now_ms)
if refused then return {'VELOCITY_REFUSED', findings} end
if not is_known then return {'UNKNOWN', findings} end

-- Announce says how long the counts of a sale live; those that begin after its end live for two days.
local function refuse(code, detail)
  local first = redis.pcall('HINCRBY', KEYS[5], code, 1) == 1
  if first and redis.pcall('HSETNX', KEYS[5], 'since', now_ms) == 1 then redis.pcall('EXPIRE', KEYS[5], 172800) end
  return {code, findings, detail}
end

quantity = tonumber(quantity)
if state == 'cancelled' then return refuse('ENDED') end
if now_ms < tonumber(starts_ms) then return refuse('NOT_STARTED', tonumber(starts_ms)) end
if end_reason == 'sold-out' then return refuse('SOLD_OUT') end
if state == 'ended' or (ends_ms ~= '' and now_ms >= tonumber(ends_ms)) then return refuse('ENDED') end
if paused == '1' then return refuse('PAUSED') end
-- The bounds of one request, before the stock: no restock will ever make such a request possible.
if max_per_purchase ~= '' and quantity > tonumber(max_per_purchase) then return refuse('LIMIT_EXCEEDED', tonumber(max_per_purchase)) end
if max_per_user ~= '' and quantity > tonumber(max_per_user) then return refuse('LIMIT_EXCEEDED', tonumber(max_per_user)) end
-- An early no only; the yes is settle's to give.
if tonumber(remaining) <= 0 then return refuse('SOLD_OUT') end
if quantity > tonumber(remaining) then return refuse('INSUFFICIENT_STOCK', tonumber(remaining)) end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[10]) then return refuse('LINE_FULL') end

-- From here on everything goes to the disk before anybody hears of it.
redis.set_repl(redis.REPL_ALL)
local entry = {'u', user, 'k', kind, 'q', ARGV[6], 'n', nonce, 't', now_ms}
if has_key then
  entry[11] = 'i'
  entry[12] = idempotency_key
end
if ARGV[12] ~= '' then
  entry[#entry + 1] = 'x'
  entry[#entry + 1] = ARGV[12]
end
local id = redis.call('XADD', KEYS[2], '0-*', unpack(entry))
local ticket = tonumber(string.sub(id, 3))
if has_key then redis.call('SET', KEYS[4], ticket .. ':' .. body, 'EX', ARGV[9]) end
local wake = redis.call('SET', KEYS[3], '1', 'NX', 'PX', ARGV[11]) and 1 or 0
return {'ADMITTED', findings, ticket, tonumber(settled), pace or '', wake, tonumber(dedicated), left}
