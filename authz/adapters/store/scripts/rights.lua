-- Returns the commands that our user may not run, and changes nothing. KEYS[1] is any key of ours, and the argument our
-- channel. Servers before version 7 can't tell, and return none.
local key, channel = KEYS[1], ARGV[FIRST]
local needed = {
  {'GET', key}, {'SET', key, ''}, {'PEXPIRE', key, '1'},
  {'HGET', key, ''}, {'HMGET', key, ''}, {'HGETALL', key}, {'HEXISTS', key, ''}, {'HLEN', key},
  {'HSET', key, '', ''}, {'HSETNX', key, '', ''}, {'HINCRBY', key, '', '1'}, {'HDEL', key, ''},
  {'XADD', key, '*', '', ''}, {'XREVRANGE', key, '+', '-'},
  {'PUBLISH', channel, ''}, {'SUBSCRIBE', channel}, {'PING'},
}
if NEAR > 0 then
  needed[#needed + 1] = {'WAIT', '0', '1'}
end
local missing = {}
if redis.acl_check_cmd then
  for _, command in ipairs(needed) do
    if not redis.acl_check_cmd(unpack(command)) then
      missing[#missing + 1] = string.lower(command[1])
    end
  end
end
return {TAG, 'OK', unpack(missing)}
