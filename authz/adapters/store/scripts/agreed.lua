-- Returns the value of KEYS[1], which is the first that was proposed.
redis.call('SET', KEYS[1], ARGV[FIRST], 'NX')
return {TAG, 'OK', redis.call('GET', KEYS[1])}
