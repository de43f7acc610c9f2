local ordered, n, number, how, wait, cause = ARGV[3] == '1', ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7]), ARGV[8]
if not holds(n, number) then return 'lost' end
if how == 'extend' then
  call('ZADD', p .. 'leased', now + wait, n)
  return 'ok'
end
if how == 'kill' then
  if not bury(n, cause, ordered) then return 'full' end
  call('ZREM', p .. 'leased', n)
  return 'ok'
end
call('ZREM', p .. 'leased', n)
call('HDEL', p .. 'holder', n)
if how == 'release' then
  call('HINCRBY', p .. 'tries', n, -1)
  call('LPUSH', p .. 'ready', n)
else
  if cause ~= '' then call('HSET', p .. 'cause', n, cause) end
  call('ZADD', p .. 'delayed', now + wait, n)
end
ring('more')
return 'ok'
