local items, bytes, ordered, id, back = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1', ARGV[6], ARGV[7] == '1'
expire()
local n = call('LINDEX', p .. 'dead:' .. id, 0)
if not n then return 'none' end
local message = call('HGET', p .. 'letter', n)
if back and full(items, bytes, #message) then
  wait_for('room')
  return 'full'
end
call('LPOP', p .. 'dead:' .. id)
call('ZREM', p .. 'dead', n)
call('HDEL', p .. 'letter', n)
call('HDEL', p .. 'why', n)
if back then
  local _, key = named(message)
  if not ordered then key = '' end
  local serial = call('INCR', p .. 'serial')
  store(serial, message, 0)
  admit(serial, key)
end
return 'ok'
