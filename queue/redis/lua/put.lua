local items, bytes, window, waits = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1'
expire()
call('ZREMRANGEBYSCORE', p .. 'seen', '-inf', now)
local n = 0
for i = 7, #ARGV, 4 do
  local id, key, due, message = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if id == '' or not call('ZSCORE', p .. 'seen', id) then
    if full(items, bytes, #message) then
      if waits then wait_for('room') end
      return n
    end
    if id ~= '' then call('ZADD', p .. 'seen', now + window, id) end
    local serial = call('INCR', p .. 'serial')
    store(serial, message, due)
    admit(serial, key)
  end
  n = n + 1
end
return n
