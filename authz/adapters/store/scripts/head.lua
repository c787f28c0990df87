-- Begins every script. A script's own arguments are ARGV[FIRST] and the following ones.
--
-- Every answer is {TAG, STATUS, ...}. TAG is the call's, so that no answer is taken for that of another
-- call. STATUS is OK, or a word of authz/adapters/store/answers.py.
--
-- SERVER is the id of the server's memory that the client read when it connected; master_replid ends it.
-- NEAR is how many replicas must be in contact with this server, for its data to be the newest.
local TAG, SERVER, NEAR, FIRST = ARGV[1], ARGV[2], tonumber(ARGV[3]), 4
local MAX_LAG_SECONDS = 5 -- replicas acknowledge every second

local function fault()
  local told = redis.call('INFO', 'replication')
  if not told:find('role:master', 1, true) then
    return 'REPLICA'
  end
  -- A server that followed another meanwhile has that one's data: it may have lost its own.
  if told:match('master_replid:(%x+)') ~= SERVER:match(':(%x+)$') then
    return 'OTHER'
  end
  local near = 0
  for state, lag in told:gmatch('slave%d+:[^\r\n]-state=(%a+)[^\r\n]-lag=(%d+)') do
    if state == 'online' and tonumber(lag) <= MAX_LAG_SECONDS then
      near = near + 1
    end
  end
  return near < NEAR and 'ALONE' or nil
end

-- The store's clock, unix seconds.
local function seconds()
  local now = redis.call('TIME')
  return tonumber(now[1]) + tonumber(now[2]) / 1000000
end

-- Since when this server's memory is whole. Another id, or none, means that it began now.
local function remembers_since(key)
  local known = redis.call('HMGET', key, 'id', 'since')
  if known[1] == SERVER and known[2] then
    return tonumber(known[2])
  end
  local now = seconds()
  redis.call('HSET', key, 'id', SERVER, 'since', string.format('%.6f', now))
  return now
end

-- The epoch and number of the revocations, in this order; KEYS[1] is the hash that has them. An epoch
-- ends with the memory of its server: another one may lack the last changes, and count them again.
local function version()
  local meta = redis.call('HMGET', KEYS[1], 'epoch', 'number')
  return meta[1] and meta[1] .. '.' .. SERVER or '', meta[2] or '0'
end

-- Has the rest of the script write even if the server is full: its stop could not be told otherwise.
--
-- A server without memory refuses a script's first write if that may take memory. What begins with a
-- write that takes none runs to its end; so do all versions from 6.2. KEYS[2] is a hash.
local function write_when_full()
  redis.call('HDEL', KEYS[2], '')
end

local found = fault()
if found then
  return {TAG, found}
end
