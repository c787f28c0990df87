-- Marks KEYS[1] as used by an attempt, unless another attempt has used it. KEYS[2] is the memory.
-- Arguments: the attempt, the age in seconds, the time to live in milliseconds, the time by the asking
-- server's clock, and by how much this one may be ahead of it, and behind it.
--
-- The memory's member "seen" is a time, at most a second ago, that this clock has shown. A clock that
-- went forward and was set back has ended marks that should count.
local attempt, age, ttl = ARGV[FIRST], tonumber(ARGV[FIRST + 1]), ARGV[FIRST + 2]
local ahead, behind = tonumber(ARGV[FIRST + 4]), tonumber(ARGV[FIRST + 5])
local at = seconds()
local since = remembers_since(KEYS[2])
local seen = tonumber(redis.call('HGET', KEYS[2], 'seen') or 0)
if at < seen then
  since = at
  redis.call('HSET', KEYS[2], 'since', string.format('%.6f', at))
end
if at < seen or at >= seen + 1 then
  redis.call('HSET', KEYS[2], 'seen', string.format('%.6f', at))
end
local difference = at - tonumber(ARGV[FIRST + 3])
if difference > ahead or difference < -behind then
  return {TAG, 'CLOCK'} -- the mark would end at another time than the server thinks
end
local used = redis.call('GET', KEYS[1])
if used and used ~= attempt then
  return {TAG, 'USED'}
end
if not used and at - age < since then
  return {TAG, 'FORGOT'} -- the mark of an earlier use may be lost
end
-- Written again for the same attempt too, so that WAIT says whether replicas have it.
redis.call('SET', KEYS[1], attempt, 'PX', ttl)
return {TAG, 'OK'}
