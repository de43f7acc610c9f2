local ordered, late = ARGV[3] == '1', 0
for i = 4, #ARGV, 2 do
  if holds(ARGV[i], ARGV[i + 1]) then
    call('ZREM', p .. 'leased', ARGV[i])
    left(ARGV[i], ordered)
  else
    late = late + 1
  end
end
return late
