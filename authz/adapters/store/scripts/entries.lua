-- Returns the version of the revocations, and their ids and lines in turn.
-- KEYS: the hash of epoch and number, the revocations.
local epoch, number = version()
return {TAG, 'OK', epoch, number, redis.call('HGETALL', KEYS[2])}
