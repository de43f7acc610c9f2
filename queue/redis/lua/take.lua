-- Answers how long until something changes by itself, and of each lease: serial, number, attempt, message.
local most, lease, bytes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
expire()
local out = {60000}
for i = 1, most do
  local n = call('LPOP', p .. 'ready')
  if not n then break end
  local number = call('INCR', p .. 'lease')
  local message = call('HGET', p .. 'message', n)
  call('HSET', p .. 'holder', n, number)
  call('ZADD', p .. 'leased', now + lease, n)
  out[#out + 1], out[#out + 2], out[#out + 3], out[#out + 4] = n, number, call('HINCRBY', p .. 'tries', n, 1), message
  bytes = bytes - #message
  if bytes <= 0 then break end
end
if #out == 1 then
  wait_for('more')
  for _, k in ipairs({'leased', 'delayed'}) do
    local first = call('ZRANGE', p .. k, 0, 0, 'WITHSCORES')
    if first[2] then out[1] = math.min(out[1], math.max(1, first[2] - now)) end
  end
end
return out
