-- The places of a message, by its serial number:
--   ready (list), leased and delayed (sorted by deadline), behind:KEY (list: what waits for the one before it of its key)
-- What is known of it: message, tries, holder (the number of its lease), due (when not at once), cause (of its last failure), born (sorted by time).
-- Dead letters: dead (sorted by serial), letter, why; dead:ID (list of serials).
-- Of the queue: seen (IDs by when they are forgotten), busy (keys of which one is under way), serial, lease, bytes.
-- wanted:more and wanted:room say that somebody waits and wants a ring.
local p = KEYS[1]
local attempts, mostdead = tonumber(ARGV[1]), tonumber(ARGV[2])
local call = redis.call
local t = call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

local function ring(what)
  if call('DEL', p .. 'wanted:' .. what) == 1 then call('PUBLISH', p .. 'bell', what) end
end
local function wait_for(what) call('SET', p .. 'wanted:' .. what, 1, 'PX', 5000) end

local function offer(n)
  local due = call('HGET', p .. 'due', n)
  if due and tonumber(due) > now then
    call('ZADD', p .. 'delayed', due, n)
  else
    call('RPUSH', p .. 'ready', n)
  end
  ring('more')
end

-- admit finds a new message its place.
local function admit(n, key)
  if key ~= '' and call('HSETNX', p .. 'busy', key, n) == 0 then
    call('RPUSH', p .. 'behind:' .. key, n)
  else
    offer(n)
  end
end

local function store(n, message, due)
  call('HSET', p .. 'message', n, message)
  call('ZADD', p .. 'born', now, n)
  call('INCRBY', p .. 'bytes', #message)
  if tonumber(due) > 0 then call('HSET', p .. 'due', n, due) end
end

local function full(items, most, more)
  local bytes = tonumber(call('GET', p .. 'bytes') or 0)
  return call('HLEN', p .. 'message') >= items or (bytes > 0 and bytes + more > most)
end

-- named reads ID and key out of what is stored.
local function named(message)
  local id, at = struct.unpack('>I4c0', message)
  local key = struct.unpack('>I4c0', message, at)
  return id, key
end

-- left forgets a message that is done or dead, and brings up the next of its key.
local function left(n, ordered)
  local message = ordered and call('HGET', p .. 'message', n)
  call('DECRBY', p .. 'bytes', call('HSTRLEN', p .. 'message', n))
  for _, k in ipairs({'message', 'tries', 'holder', 'due', 'cause'}) do call('HDEL', p .. k, n) end
  call('ZREM', p .. 'born', n)
  ring('room')
  if not message then return end
  local _, key = named(message)
  if key == '' then return end
  local next = call('LPOP', p .. 'behind:' .. key)
  if next then offer(next) else call('HDEL', p .. 'busy', key) end
end

-- bury moves a message to the dead letters; false when there is no room for it.
local function bury(n, reason, ordered)
  if call('ZCARD', p .. 'dead') >= mostdead then return false end
  local message = call('HGET', p .. 'message', n)
  call('ZADD', p .. 'dead', call('INCR', p .. 'serial'), n)
  call('HSET', p .. 'letter', n, message)
  call('HSET', p .. 'why', n, (call('HGET', p .. 'tries', n) or '0') .. ' ' .. now .. '\n' .. reason)
  call('RPUSH', p .. 'dead:' .. named(message), n)
  left(n, ordered)
  return true
end

-- expire takes back leases whose deadline has passed and brings up what is not delayed any more, up to a thousand of each.
local function expire()
  for _, n in ipairs(call('ZRANGEBYSCORE', p .. 'leased', '-inf', now, 'LIMIT', 0, 1000)) do
    call('ZREM', p .. 'leased', n)
    call('HDEL', p .. 'holder', n)
    local dead = false
    if tonumber(call('HGET', p .. 'tries', n)) >= attempts then
      local reason, cause = 'every holder let its lease lapse', call('HGET', p .. 'cause', n)
      if cause then reason = cause .. '; and the last holder let its lease lapse' end
      dead = bury(n, reason, call('EXISTS', p .. 'busy') == 1)
    end
    if not dead then
      call('RPUSH', p .. 'ready', n)
      ring('more')
    end
  end
  for _, n in ipairs(call('ZRANGEBYSCORE', p .. 'delayed', '-inf', now, 'LIMIT', 0, 1000)) do
    call('ZREM', p .. 'delayed', n)
    call('RPUSH', p .. 'ready', n)
    ring('more')
  end
end

-- holds tells whether the lease of this number is still the message's, by the clock of the server.
local function holds(n, number)
  if call('HGET', p .. 'holder', n) ~= number then return false end
  local deadline = call('ZSCORE', p .. 'leased', n)
  return deadline and tonumber(deadline) > now
end
