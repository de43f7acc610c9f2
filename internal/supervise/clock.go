package supervise

import "time"

const (
	leastTick  = 50 * time.Millisecond // ticks that come faster are taken together
	mostStalls = 64
)

// Clock measures suspicion. When the supervisor's own tick comes late, by more than twice its interval, the machine was suspended, or we were stopped, or got no
// processor: workers may have answered meanwhile, and nobody has heard them. That time counts against none of them.
type Clock struct {
	every  time.Duration
	last   time.Duration // of the last tick
	stalls []stall       // the oldest first
}

type stall struct{ from, to, by time.Duration }

// Begin starts the clock; a tick is to come every so often.
func (c *Clock) Begin(every, now time.Duration) { c.every, c.last = max(every, leastTick), now }

// Tick says that the supervisor runs. It tells how late it came.
func (c *Clock) Tick(now time.Duration) (late time.Duration) {
	if gap, by := c.gap(now); by > 0 {
		if len(c.stalls) == mostStalls { // the two oldest become one: it excuses too much rather than too little
			a, b := c.stalls[0], c.stalls[1]
			c.stalls[1] = stall{a.from, b.to, a.by + b.by}
			c.stalls = append(c.stalls[:0], c.stalls[1:]...)
		}
		c.stalls = append(c.stalls, gap)
		late = by
	}
	c.last = max(c.last, now)
	return late
}

// gap is the stall that is under way, if the next tick is late.
func (c *Clock) gap(now time.Duration) (s stall, by time.Duration) {
	if c.every == 0 || now-c.last <= 2*c.every {
		return stall{}, 0
	}
	by = now - c.last - c.every
	return stall{now - by, now, by}, by
}

// Elapsed is how long ago begun was, less the time in which the supervisor did not run.
func (c *Clock) Elapsed(begun, now time.Duration) time.Duration {
	d := now - begun
	for i := len(c.stalls) - 1; i >= 0 && c.stalls[i].to > begun; i-- {
		d -= min(c.stalls[i].by, c.stalls[i].to-begun)
	}
	if s, by := c.gap(now); by > 0 {
		d -= min(by, s.to-begun)
	}
	return max(d, 0)
}
