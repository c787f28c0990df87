-- Returns the epoch and number of the revocations. KEYS[1] is their hash of these two.
local epoch, number = version()
return {TAG, 'OK', epoch, number}
