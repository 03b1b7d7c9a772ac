-- Velocity: how many different ones were seen behind each subject lately, and whether one more is too many.
--
-- KEYS[first_key …] n times seen (sorted set: member -> last time in ms), then n times noted (string: set while this
-- buyer, signal and sale has a record already). ARGV[first_arg …] five for each signal:
--   member  window in ms  flag from so many on (0: never)  refuse from so many on (0: never)  most that are kept
--
-- Answers whether any signal refuses, and three numbers for each: verdict (0 ok, 1 flag, 2 refuse), count, note it (1)
-- or not (0); no numbers where all is well.
--
-- Who was let in before is not refused now: a crowd that grows does not put out those who were there first. Whoever is
-- refused by any signal is counted by none.
local function judge(n, first_key, first_arg, now_ms)
  local signals, refused, well = {}, false, true
  for i = 1, n do
    local at = first_arg + (i - 1) * 5
    local seen = KEYS[first_key + i - 1]
    local signal = {member = ARGV[at], window = tonumber(ARGV[at + 1]), kept = tonumber(ARGV[at + 4]), known = false,
                    verdict = 0}
    local flag_at, refuse_at = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    local since = now_ms - signal.window
    -- In a rush nearly everybody is the first behind their own address and their own name.
    local size, lately = redis.call('ZCARD', seen), 0
    if size > 0 then
      signal.known = tonumber(redis.call('ZSCORE', seen, signal.member) or 0) > since
      lately = redis.call('ZCOUNT', seen, string.format('(%.0f', since), '+inf')
    end
    signal.has_old = lately < size
    signal.count = lately + (signal.known and 0 or 1)
    if refuse_at > 0 and signal.count >= refuse_at and not signal.known then
      signal.verdict, refused, well = 2, true, false
    elseif flag_at > 0 and signal.count >= flag_at then
      signal.verdict, well = 1, false
    end
    signals[i] = signal
  end

  local answer = {}
  for i = 1, n do
    local signal, seen = signals[i], KEYS[first_key + i - 1]
    -- A bound on memory: beyond it everybody who is new counts as one more, and is not remembered.
    if not refused and (signal.known or signal.count <= signal.kept) then
      -- The first write, and not a pcall: a Redis without memory refuses it, and with it the request. After a write
      -- that needs none, such as the next, it would let the script go on.
      redis.call('ZADD', seen, now_ms, signal.member)
      if signal.has_old then redis.call('ZREMRANGEBYSCORE', seen, '-inf', now_ms - signal.window) end
      redis.call('PEXPIRE', seen, signal.window)
    end
    if not well then
      local is_first = signal.verdict > 0
        and redis.pcall('SET', KEYS[first_key + n + i - 1], '1', 'NX', 'PX', signal.window)
      answer[#answer + 1] = signal.verdict
      answer[#answer + 1] = signal.count
      answer[#answer + 1] = is_first and is_first.ok and 1 or 0
    end
  end
  return refused, answer
end
