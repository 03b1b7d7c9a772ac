-- Velocity: how many different ones were seen behind each subject lately, and whether one more is too many.
--
-- KEYS 1…n    seen (sorted set) member -> last time in ms, one for each signal that is asked
--      n+1…2n noted (string)    set while this buyer, signal and sale has a record already
-- ARGV 1 n; then five for each signal:
--      member  window in ms  flag from so many on (0: never)  refuse from so many on (0: never)  most that are kept
--
-- Answers three numbers for each signal: verdict (0 ok, 1 flag, 2 refuse), count, note it (1) or not (0).
--
-- Who was let in before is not refused now: a retry gets the answer of its first try, and a crowd that grows does not
-- put out those who were there first. Whoever is refused by any signal is counted by none.

local n = tonumber(ARGV[1])
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local signals, refused = {}, false

for i = 1, n do
  local at = 2 + (i - 1) * 5
  local signal = {member = ARGV[at], window = tonumber(ARGV[at + 1]), kept = tonumber(ARGV[at + 4]), verdict = 0}
  local flag_at, refuse_at = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now_ms - signal.window)
  signal.known = redis.call('ZSCORE', KEYS[i], signal.member)
  signal.count = redis.call('ZCARD', KEYS[i])
  if not signal.known then signal.count = signal.count + 1 end
  if refuse_at > 0 and signal.count >= refuse_at and not signal.known then
    signal.verdict, refused = 2, true
  elseif flag_at > 0 and signal.count >= flag_at then
    signal.verdict = 1
  end
  signals[i] = signal
end

local answer = {}
for i = 1, n do
  local signal = signals[i]
  -- A bound on memory: beyond it everybody who is new counts as one more, and is not remembered.
  if not refused and (signal.known or signal.count <= signal.kept) then
    redis.call('ZADD', KEYS[i], now_ms, signal.member)
    redis.call('PEXPIRE', KEYS[i], signal.window)
  end
  local note = 0
  if signal.verdict > 0 and redis.call('SET', KEYS[n + i], '1', 'NX', 'PX', signal.window) then note = 1 end
  answer[#answer + 1] = signal.verdict
  answer[#answer + 1] = signal.count
  answer[#answer + 1] = note
end
return answer
