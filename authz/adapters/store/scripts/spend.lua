-- Spends of budgets, in sliding windows: all charges, or none.
--
-- KEYS: a hash for each charge. w: the number of its last window in use, c: spent in that window,
-- p: spent in the window before it.
-- Arguments: cost, limit (both in millionths) and window (in seconds) of each charge, in turn.
-- Answers OK; or EXHAUSTED, the first charge without room, from 0, and the seconds until all have.
--
-- The time is this server's, so that replicas whose clocks differ count the same windows. It and all
-- amounts are whole and below 2^53, so that Lua's numbers hold them exactly.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local first, wait = nil, 0
local writes = {}

-- The microseconds until there is room, if nothing else is spent.
local function until_room(length, elapsed, current, last, free)
  if current <= free then -- in this window already, when less of the last one counts
    return length * (1 - (free - current) / last) - elapsed
  end
  -- In the next window, whose last one this is. Without anything spent the charge is too large.
  local later = current > 0 and length * math.max(0, 1 - free / current) or 0
  return length - elapsed + later
end

for at, key in ipairs(KEYS) do
  local place = FIRST + 3 * (at - 1)
  local cost, limit = tonumber(ARGV[place]), tonumber(ARGV[place + 1])
  local length = math.floor(ARGV[place + 2] * 1000000 + 0.5)
  local window = math.floor(now / length)
  local elapsed = now - window * length
  local kept = redis.call('HMGET', key, 'w', 'c', 'p')
  local number = tonumber(kept[1] or window)
  local current, last = tonumber(kept[2] or 0), tonumber(kept[3] or 0)
  if number > window then -- the clock was set back: nothing that was spent is forgotten
    window, elapsed = number, 0
  elseif number == window - 1 then
    current, last = 0, current
  elseif number < window then
    current, last = 0, 0
  end
  -- As much of the last window as the sliding one still covers.
  local covered = math.ceil(last * ((length - elapsed) / length))
  if current + covered + cost > limit then
    first = first or at - 1
    wait = math.max(wait, until_room(length, elapsed, current, last, limit - cost))
  end
  writes[at] = {key, window, current + cost, last, (window + 2) * length - now}
end

if first then
  return {TAG, 'EXHAUSTED', first, string.format('%.6f', wait / 1000000)}
end
for _, write in ipairs(writes) do
  local key, window, current, last, rest = unpack(write)
  local whole = '%.0f' -- a large number would be written as 1e+15
  redis.call('HSET', key, 'w', whole:format(window), 'c', whole:format(current),
    'p', whole:format(last))
  redis.call('PEXPIRE', key, whole:format(math.ceil(rest / 1000))) -- then it counts no more
end
return {TAG, 'OK'}
