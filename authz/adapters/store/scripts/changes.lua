-- Returns the last changes, the newest first: each the id of its entry in the stream, and its fields.
-- KEYS[1] is the stream; the argument is how many.
return {TAG, 'OK', redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[FIRST])}
