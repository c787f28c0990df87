-- Returns the epoch and number of the revocations. KEYS[1] is their hash of these two.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'number')
return {TAG, 'OK', meta[1] or '', meta[2] or '0'}
