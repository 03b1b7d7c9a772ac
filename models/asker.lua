-- Whether whoever asks gave their token back. KEYS[first_key] revoked (string: is there if it was), then generation
-- (string: the user's tokens are good from it on); ARGV[first_arg] the generation of the token.
local function is_given_back(first_key, first_arg)
  local revoked, good_from = unpack(redis.call('MGET', KEYS[first_key], KEYS[first_key + 1]))
  return revoked or tonumber(ARGV[first_arg]) < tonumber(good_from or 0)
end
