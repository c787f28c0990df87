-- Spends of budgets, in sliding windows: all charges, or none.
--
-- KEYS: a hash for each charge. w: the number of its last window in use, c: spent in that one,
-- p: spent in the window before it.
-- ARGV: cost, limit (both in millionths) and window (in microseconds) of each charge, in turn.
-- Returns {0}, or {the first charge without room, from 1; microseconds until all have room}.
--
-- The time is this server's, so that replicas whose clocks differ count the same windows. All
-- amounts are whole and below 2^53, so that Lua's numbers hold them exactly.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local first, wait = 0, 0
local writes = {}

for at, key in ipairs(KEYS) do
  local cost = tonumber(ARGV[3 * at - 2])
  local limit = tonumber(ARGV[3 * at - 1])
  local length = tonumber(ARGV[3 * at])
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
  local share = (length - elapsed) / length -- of the last window, which is still in the sliding one
  if current + math.ceil(last * share) + cost > limit then
    if first == 0 then
      first = at
    end
    local rest = 0
    if current + cost <= limit then -- in this window already, when less of the last one counts
      rest = length * (1 - (limit - current - cost) / last) - elapsed
    else
      rest = length - elapsed
      if current + cost > limit and current > 0 then
        rest = rest + length * math.max(0, 1 - (limit - cost) / current)
      end
    end
    wait = math.max(wait, rest)
  end
  writes[at] = {window, current + cost, last, length}
end

if first > 0 then
  return {first, math.ceil(wait)}
end
for at, key in ipairs(KEYS) do
  local window, current, last, length = unpack(writes[at])
  redis.call('HSET', key, 'w', string.format('%.0f', window), 'c', string.format('%.0f', current),
    'p', string.format('%.0f', last))
  -- Until the end of the window after this one: from then on it counts no more.
  redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(((window + 2) * length - now) / 1000)))
end
return {0}
