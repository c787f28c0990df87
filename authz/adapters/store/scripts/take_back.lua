-- Removes revocations, tells the subscribers, and returns those that stay, as entries.lua does.
-- KEYS: the hash of epoch and number, the revocations, the stream of changes.
-- Arguments: the channel, the most changes, who takes back, why, then ids.
local channel, kept, by, note = ARGV[FIRST], ARGV[FIRST + 1], ARGV[FIRST + 2], ARGV[FIRST + 3]
local is_changed = false
write_when_full()
for at = FIRST + 4, #ARGV do
  local entry = redis.call('HGET', KEYS[2], ARGV[at])
  if entry then
    local number = redis.call('HINCRBY', KEYS[1], 'number', 1)
    redis.call('HDEL', KEYS[2], ARGV[at])
    redis.call('XADD', KEYS[3], 'MAXLEN', '~', kept, '*', 'number', number, 'by', by,
      'added', '0', 'id', ARGV[at], 'entry', entry, 'note', note)
    is_changed = true
  end
end
if is_changed then
  redis.call('PUBLISH', channel, 'changed')
end
local epoch, number = version()
return {TAG, 'OK', epoch, number, redis.call('HGETALL', KEYS[2])}
