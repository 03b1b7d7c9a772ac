-- Buyers who stay: each asks for units, and then for the outcome until it is there. Then the next one comes.
--
-- wrk calls request() when a connection may send, and response() when it has an answer, but says of neither which
-- connection that is. It need not: whatever is to be sent next may be sent by any of them. Each answer brings either a
-- look at the outcome, which is put in a queue, or the end of a visit, which is a place for the next buyer; and each
-- connection that may send takes the first look that is due, or is the next buyer. So there are as many visits under way
-- as connections. To whom an answer belongs it says itself, by the purchase that it names.
--
-- Where looks pause, wrk asks delay() before it asks request(), once after each answer. Whoever asks there first waits
-- for the look that is due first; who finds none to wait for, goes on at once. Who finds on waking that another took
-- their look is the next buyer in that other's place.
--
-- A connection that breaks takes a visit with it and begins another one; what never came to an end is told as lost.
--
-- From the environment, beside what requests.lua reads:
--   BENCH_LOOK_PATH   where to ask for an outcome; @PLACE@ is the purchase
--   BENCH_LOOK_NAME   what in an answer names the purchase
--   BENCH_LOOK_PAUSE_MS  before each look (0: the server holds the look until it knows)

dofile((string.match(debug.getinfo(1, 'S').source, '^@(.*/)') or '') .. 'requests.lua')

local pause_ms = tonumber(os.getenv('BENCH_LOOK_PAUSE_MS'))
local before_place, after_place = string.match(os.getenv('BENCH_LOOK_PATH'), '^(.*)@PLACE@(.*)$')
local name_of_place = '"' .. os.getenv('BENCH_LOOK_NAME') .. '":%s*"([^"]+)"'
local come, begin = request, init
local by_user = {}
-- The looks that are to be sent, in the order in which they are due, and the moments when they are.
local looks, due, first, last, waited_for = {}, {}, 1, 0, 0
-- The look of each visit that goes on, by its purchase.
local visits = {}
-- By name for done(), which asks each thread. wrk calls request() once for nothing, before it begins.
told = {came = -1, known = 0, wrong = 0}

function init()
  begin()
  for _, buyer in ipairs(bench.buyers) do by_user[buyer[3]] = buyer end
end

function request()
  if first <= last and due[first] <= bench.now() then
    local look = looks[first]
    looks[first], due[first] = nil, nil
    first = first + 1
    waited_for = math.max(waited_for, first - 1)
    return look
  end
  told.came = told.came + 1
  return come()
end

local function look_later(look)
  last = last + 1
  looks[last], due[last] = look, pause_ms > 0 and bench.now() + pause_ms / 1000 or 0
end

local function look_of(place, body)
  local buyer = by_user[string.match(body, '"userId":%s*"(%d+)"')]
  return 'GET ' .. before_place .. place .. after_place .. ' HTTP/1.1\r\nHost: ' .. wrk.host .. ':' .. wrk.port .. '\r\n'
    .. (buyer and bench.signed(buyer) or '') .. '\r\n'
end

function response(status, _, body)
  if status == 201 then
    told.known = told.known + 1
    return
  end
  local place = string.match(body, name_of_place)
  local look = place and visits[place]
  if status == 202 and place and not look then
    visits[place] = look_of(place, body)
    look_later(visits[place])
  elseif status == 200 and look then
    local outcome = string.match(body, '"status":%s*"(%a+)"')
    if outcome == 'queued' then
      look_later(look)
      return
    end
    visits[place] = nil
    local what = outcome == 'confirmed' and 'known' or 'wrong'
    told[what] = told[what] + 1
  else
    told.wrong = told.wrong + 1
  end
end

if pause_ms > 0 then
  function delay()
    waited_for = math.max(waited_for + 1, first)
    if waited_for > last then
      waited_for = last
      return 0
    end
    -- wrk counts whole milliseconds, and may wake one too early.
    return math.max(0, math.ceil((due[waited_for] - bench.now()) * 1000)) + 1
  end
end

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function done(summary)
  local errors = summary.errors
  local sum = threads[1]:get('told')
  print(string.format('BENCH {"came":%d,"known":%d,"wrong":%d,"seconds":%.6f,"broken":%d}',
    sum.came, sum.known, sum.wrong, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.timeout))
end
