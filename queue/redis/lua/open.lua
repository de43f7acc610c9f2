-- How the queue was made, and a number for who opens it.
redis.call('SETNX', KEYS[1] .. 'made', ARGV[1])
return {redis.call('GET', KEYS[1] .. 'made'), redis.call('INCR', KEYS[1] .. 'opened')}
