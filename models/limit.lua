-- How often one may ask: sliding windows, counted as the library behind the other routes' limits counts them ("sliding
-- window counter" of https://limits.readthedocs.io). A window begins with its first request; the window before it
-- weighs by how much of it lies within one window's length of now. Kept as "<start ms>:<count before>:<count>".

local function window_of(key, window_ms, now_ms)
  local kept = redis.call('GET', key)
  local start, before, count = string.match(kept or '', '^(%d+):(%d+):(%d+)$')
  local passed = start and now_ms - tonumber(start)
  -- What begins in the future is of before the clock was set back, and would last until the clock is there again.
  if not passed or passed < 0 or passed >= 2 * window_ms then return now_ms, 0, 0 end
  if passed >= window_ms then return tonumber(start) + window_ms, tonumber(count), 0 end
  return tonumber(start), tonumber(before), tonumber(count)
end

-- How long until one more fits: the window before weighs less with every moment, and then this one begins to.
local function wait_of(amount, window_ms, start, before, count, now_ms)
  local room = amount - 1 - count
  if room >= 0 then return start + math.floor(window_ms * (before - room - 1) / before) + 1 - now_ms end
  return start + window_ms + math.floor(window_ms * (count - amount) / count) + 1 - now_ms
end

-- Counts one request against every limit, or against none. KEYS[first_key …] one a limit; ARGV[first_arg …] amount and
-- window in ms of each. Answers how many more are let in now, or nil, which limit refuses and how many ms to wait.
local function take(limits, first_key, first_arg, now_ms)
  local writes, left = {}, -1
  for i = 1, limits do
    local key, amount, window_ms = KEYS[first_key + i - 1], tonumber(ARGV[first_arg + 2 * i - 2]), tonumber(ARGV[first_arg + 2 * i - 1])
    local start, before, count = window_of(key, window_ms, now_ms)
    local more = amount - math.floor(before * (window_ms - (now_ms - start)) / window_ms) - count - 1
    if more < 0 then return nil, i, math.max(1, wait_of(amount, window_ms, start, before, count, now_ms)) end
    writes[i] = {key, string.format('%.0f:%d:%d', start, before, count + 1), 2 * window_ms}
    if left < 0 or more < left then left = more end
  end
  -- A Redis that has no memory for a count has none for the request either, and says so there.
  for i = 1, limits do redis.pcall('SET', writes[i][1], writes[i][2], 'PX', writes[i][3]) end
  return left
end
