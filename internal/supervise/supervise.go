// Package supervise decides what follows the end of a worker: start another now, start one later, or give up.
//
// It is pure: it knows no tasks, no processes and no clock of its own. A [Policy] belongs to one goroutine.
package supervise

import (
	"math"
	"time"
)

// End is how a worker ended, as far as restarting goes.
type End int

const (
	Served End = iota // it ran tasks; whatever killed it, the next one starts at once
	Idle              // it died without running anything since it was ready
	Start             // it never became ready
	Fatal             // it said itself that it can never start: a missing module, a wrong name
)

// Decision is what to do. When GiveUp is false, start another after Wait.
type Decision struct {
	GiveUp bool
	Wait   time.Duration
}

// Policy counts ends that show no progress; the count halves every Decay. The zero value is ready for use.
type Policy struct {
	Limit int           // give up at so many fruitless ends in a row; zero means 3
	Decay time.Duration // zero means 30 s
	Wait  time.Duration // before the second try, doubled for each further one; zero means 100 ms

	count float64
	last  time.Time
}

// Next tells what to do after a worker ended at now.
func (p *Policy) Next(end End, now time.Time) Decision {
	limit, decay, wait := p.Limit, p.Decay, p.Wait
	if limit == 0 {
		limit = 3
	}
	if decay == 0 {
		decay = 30 * time.Second
	}
	if wait == 0 {
		wait = 100 * time.Millisecond
	}
	switch end {
	case Fatal:
		return Decision{GiveUp: true}
	case Served:
		p.count = 0
		return Decision{}
	}
	if !p.last.IsZero() {
		p.count *= math.Exp2(-float64(now.Sub(p.last)) / float64(decay))
	}
	p.last = now
	p.count++
	if p.count > float64(limit)-0.5 {
		return Decision{GiveUp: true}
	}
	return Decision{Wait: wait << (int(p.count) - 1)}
}
