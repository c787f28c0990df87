-- Returns the version of the revocations, and their ids and lines in turn.
-- KEYS: the hash of epoch and number, the revocations.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'number')
return {TAG, 'OK', meta[1] or '', meta[2] or '0', redis.call('HGETALL', KEYS[2])}
