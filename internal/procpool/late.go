package procpool

import "time"

// beat tells the clock of suspicion that the pool's watch runs.
func (p *Pool) beat(at int64) {
	p.mu.Lock()
	p.lastSeen = at
	late := p.clock.Tick(time.Duration(at))
	p.mu.Unlock()
	if late > 0 {
		p.event(-1, "stopped", "running", "nothing ran here for "+late.Round(time.Millisecond).String()+": that time counts against no worker")
	}
}

// elapsed is how long ago since was, less the time in which this process did not run. The mutex is held.
func (p *Pool) elapsed(since, now int64) int64 {
	return int64(p.clock.Elapsed(time.Duration(since), time.Duration(now)))
}

// patient is elapsed for those who do not hold the mutex.
func (p *Pool) patient(since time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.clock.Elapsed(since, now())
}
