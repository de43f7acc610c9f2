expire()
local delayed, leased = call('ZCARD', p .. 'delayed'), call('ZCARD', p .. 'leased')
local first, age = call('ZRANGE', p .. 'born', 0, 0, 'WITHSCORES'), 0
if first[2] then age = math.max(0, now - first[2]) end
return {call('HLEN', p .. 'message') - delayed - leased, delayed, leased, call('ZCARD', p .. 'dead'), tonumber(call('GET', p .. 'bytes') or 0), age}
