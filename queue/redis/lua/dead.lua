local from, most, bytes = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
expire()
local out = {}
for _, n in ipairs(call('ZRANGE', p .. 'dead', from, from + most - 1)) do
  local message = call('HGET', p .. 'letter', n)
  out[#out + 1], out[#out + 2] = message, call('HGET', p .. 'why', n)
  bytes = bytes - #message
  if bytes <= 0 then break end
end
return out
