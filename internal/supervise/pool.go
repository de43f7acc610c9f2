package supervise

import "time"

// Breaker is whether a pool starts workers.
type Breaker uint8

const (
	Closed Breaker = iota // every place may start
	Open                  // none may
	Canary                // one tries
)

func (b Breaker) String() string { return [...]string{"closed", "open", "canary"}[b] }

const (
	mostFailures = 3 // boots in a row
	firstPause   = 5 * time.Second
	mostPause    = time.Minute
)

// Pool is what the places of a pool decide together. The zero value is a new one.
type Pool struct {
	state  Breaker
	begun  bool // a worker has once been ready
	fails  int  // boots in a row that failed
	last   time.Duration
	until  time.Duration // with Open: when a canary may try
	pause  time.Duration
	canary int // with Canary: the place that tries

	recycles bool
	recycler int
}

// Breaker is its state.
func (p *Pool) Breaker() Breaker { return p.state }

// Canary is the place that tries while the breaker is not closed.
func (p *Pool) Canary() (place int, ok bool) { return p.canary, p.state == Canary }

// May tells whether place may start a worker now, or how long until it is worth asking again. Whoever is told yes while the breaker is open is the canary.
func (p *Pool) May(place int, now time.Duration) (yes bool, wait time.Duration) {
	switch p.state {
	case Closed:
		return true, 0
	case Open:
		if now >= p.until {
			p.state, p.canary = Canary, place
			return true, 0
		}
		return false, p.until - now
	}
	return place == p.canary, mostPause
}

// Ready says that a worker can take tasks.
func (p *Pool) Ready() { p.begun = true }

// Proved says that a worker has done something, or has lived for a minute. It tells whether that has closed the breaker: all places may start.
func (p *Pool) Proved() (closed bool) {
	closed = p.state != Closed
	p.state, p.fails, p.pause = Closed, 0, 0
	return closed
}

// Failed says that a worker, whose start had begun at begun, did not become ready, or ended before it was given anything. final says that it named itself a cause that
// will not pass. Several that fail together count once: those that began before the last failure was known say nothing new.
//
// opened tells that the breaker has opened by it, giveUp that no worker of the pool has ever been ready: then there is nothing to wait for.
func (p *Pool) Failed(place int, begun, now time.Duration, final bool) (opened, giveUp bool) {
	if p.state == Canary && place != p.canary || p.state == Open {
		return false, false
	}
	if p.fails == 0 || begun >= p.last {
		p.fails++
		p.last = now
	}
	if p.state == Closed && p.fails < mostFailures && !final {
		return false, false
	}
	if !p.begun {
		return false, true
	}
	p.pause = min(max(2*p.pause, firstPause), mostPause)
	p.state, p.until = Open, now+p.pause
	return true, false
}

// Left says that place ends; another may be the canary in its stead, or recycle.
func (p *Pool) Left(place int, now time.Duration) {
	if p.state == Canary && p.canary == place {
		p.state, p.until = Open, now
	}
	p.Recycled(place)
}

// Recycle asks for the right to recycle the worker of place: one place at a time has it, until Recycled.
func (p *Pool) Recycle(place int) bool {
	if p.recycles {
		return false
	}
	p.recycles, p.recycler = true, place
	return true
}

// Recycled gives the right back.
func (p *Pool) Recycled(place int) {
	if p.recycles && p.recycler == place {
		p.recycles = false
	}
}
