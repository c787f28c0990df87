-- Marks KEYS[1] as used by an attempt, unless another attempt has used it. KEYS[2] is the memory.
-- The age is in seconds, and the time to live in milliseconds.
local attempt, age, ttl = ARGV[FIRST], tonumber(ARGV[FIRST + 1]), ARGV[FIRST + 2]
local since = remembers_since(KEYS[2])
local used = redis.call('GET', KEYS[1])
if used and used ~= attempt then
  return {TAG, 'USED'}
end
if not used and seconds() - age < since then
  return {TAG, 'FORGOT'} -- the mark of an earlier use may be lost
end
-- Written again for the same attempt too, so that WAIT says whether replicas have it.
redis.call('SET', KEYS[1], attempt, 'PX', ttl)
return {TAG, 'OK'}
