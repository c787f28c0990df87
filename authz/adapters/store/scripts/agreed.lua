-- Returns the value of KEYS[1], which is the first that was proposed.
local agreed = redis.call('GET', KEYS[1]) -- first, as a full server can still be asked
if not agreed then
  agreed = ARGV[FIRST]
  redis.call('SET', KEYS[1], agreed)
end
return {TAG, 'OK', agreed}
