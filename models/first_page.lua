-- Keep a sale's first page of the leaderboard until a moment, unless a newer one is kept already.
-- KEYS[1] the page; ARGV: revision of the sale it was read at, field, page, epoch milliseconds to keep it until, the last
-- ticket of a page that is full or ''.
local known = redis.call('HGET', KEYS[1], 'revision')
if known and (tonumber(known) or 0) > tonumber(ARGV[1]) then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'revision', ARGV[1], ARGV[2], ARGV[3], 'ends', ARGV[5])
redis.call('PEXPIREAT', KEYS[1], ARGV[4])
return 1
