-- Has the server's memory begin now, unless it has begun. KEYS[1] is the memory.
remembers_since(KEYS[1])
return {TAG, 'OK'}
