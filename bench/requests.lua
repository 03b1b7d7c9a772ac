-- What wrk sends: every request is another buyer's, with that buyer's token and address, and their number in the body.
--
-- From the environment:
--   BENCH_BUYERS  file of lines `token address user`; empty: nobody asks
--   BENCH_FIRST   which buyer comes first, from 0; after the last one the first comes again
--   BENCH_METHOD  BENCH_PATHS (blank between; in turns)  BENCH_BODY (@USER@ is the buyer's number)
--   BENCH_HEADERS lines `Name: value`
--   BENCH_STOP_AFTER  so many answers are enough (0: until the time is up); then the answers' moments are told too
--
-- Prints one line that starts with BENCH and is JSON.

local ffi = require('ffi')
ffi.cdef('typedef struct { long s; long us; } bench_time; int gettimeofday(bench_time *t, void *zone);')
local moment = ffi.new('bench_time')

local function now()
  ffi.C.gettimeofday(moment, nil)
  return tonumber(moment.s) + tonumber(moment.us) / 1e6
end

local stop_after = tonumber(os.getenv('BENCH_STOP_AFTER') or '0')
local first = tonumber(os.getenv('BENCH_FIRST') or '0')
local buyers, paths = {}, {}
local sent, answered, began = 0, 0, nil
local counts, last_at = {}, {}
local before_body, after_body

-- For a script that goes on from here (visits.lua).
bench = {now = now, buyers = buyers}

-- The headers by which a buyer is known.
function bench.signed(buyer)
  return 'Authorization: Bearer ' .. buyer[1] .. '\r\nX-Forwarded-For: ' .. buyer[2] .. '\r\n'
end

local function split_body(body)
  local from, to = string.find(body, '@USER@', 1, true)
  if not from then return body, nil end
  return string.sub(body, 1, from - 1), string.sub(body, to + 1)
end

function init()
  local file = os.getenv('BENCH_BUYERS') or ''
  if file ~= '' then
    for line in io.lines(file) do
      local token, address, user = string.match(line, '^(%S+) (%S+) (%S+)$')
      buyers[#buyers + 1] = {token, address, user}
    end
  end
  local method = os.getenv('BENCH_METHOD')
  local more = {'Host: ' .. wrk.host .. ':' .. wrk.port}
  for line in string.gmatch(os.getenv('BENCH_HEADERS') or '', '[^\n]+') do more[#more + 1] = line end
  for path in string.gmatch(os.getenv('BENCH_PATHS'), '%S+') do
    paths[#paths + 1] = method .. ' ' .. path .. ' HTTP/1.1\r\n' .. table.concat(more, '\r\n') .. '\r\n'
  end
  before_body, after_body = split_body(os.getenv('BENCH_BODY') or '')
end

function request()
  began = began or now()
  local head = paths[1 + sent % #paths]
  local buyer = buyers[1 + (first + sent) % math.max(1, #buyers)]
  sent = sent + 1
  local body = before_body
  if buyer then
    head = head .. bench.signed(buyer)
    if after_body then body = before_body .. buyer[3] .. after_body end
  end
  if body == '' then return head .. '\r\n' end
  return head .. 'Content-Length: ' .. #body .. '\r\n\r\n' .. body
end

local function tell_moments()
  local parts = {}
  for status, count in pairs(counts) do
    parts[#parts + 1] = string.format('"%d":[%d,%.6f]', status, count, last_at[status])
  end
  print(string.format('BENCH {"began":%.6f,"answered":%d,"statuses":{%s}}', began, answered, table.concat(parts, ',')))
  io.stdout:flush()
end

if stop_after > 0 then
  function response(status)
    answered = answered + 1
    counts[status] = (counts[status] or 0) + 1
    last_at[status] = now()
    if answered >= stop_after then
      tell_moments()
      -- wrk would sleep until its time is up.
      os.exit(0)
    end
  end
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    'BENCH {"answered":%d,"seconds":%.6f,"refused":%d,"broken":%d,"p50":%.3f,"p99":%.3f,"max":%.3f}',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
