-- Adds revocations that are not there yet, and tells the subscribers.
-- KEYS: the hash of epoch and number, the revocations, the stream of changes.
-- Arguments: an epoch for the first change, the channel, the most revocations, the most changes, who
-- adds, then ids and lines in turn.
local epoch, channel, most, kept = ARGV[FIRST], ARGV[FIRST + 1], tonumber(ARGV[FIRST + 2]), ARGV[FIRST + 3]
local new = {}
for at = FIRST + 5, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[2], ARGV[at]) == 0 then
    new[#new + 1] = at
  end
end
if redis.call('HLEN', KEYS[2]) + #new > most then
  return {TAG, 'FULL'}
end
write_when_full()
for _, at in ipairs(new) do
  redis.call('HSETNX', KEYS[1], 'epoch', epoch)
  local number = redis.call('HINCRBY', KEYS[1], 'number', 1)
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  redis.call('XADD', KEYS[3], 'MAXLEN', '~', kept, '*', 'number', number, 'by', ARGV[FIRST + 4],
    'added', '1', 'id', ARGV[at], 'entry', ARGV[at + 1], 'note', '')
end
if #new > 0 then
  redis.call('PUBLISH', channel, 'changed')
end
local now, number = version()
return {TAG, 'OK', now, number}
