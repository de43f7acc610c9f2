package supervise

import (
	"math/rand/v2"
	"time"
)

// Ending is how a worker ended, as far as the next start goes.
type Ending uint8

const (
	Charged   Ending = iota // it died under an item: the item is charged, not the place
	Unnamed                 // it died, or was killed from outside, and no item is to blame
	Fruitless               // it never became ready, or ended before it was given anything
	Meant                   // it went because it was told to: recycled, or surplus
)

const (
	firstWait = 100 * time.Millisecond
	mostWait  = 30 * time.Second
	healthy   = 60 * time.Second // a worker that lived so long was a good one
)

// Place is the place of one worker. The zero value is a new one.
type Place struct {
	Times Times
	Rand  func() float64 // in [0,1); nil means the common one

	present *Life // the worker it counts on
	coming  *Life // its replacement, while it is recycled
	between State // while there is no worker: New, Dead, Backoff or Retired
	due     time.Duration
	bad     int // ends in a row that no item is charged with
}

// State is the state of its worker, or of the place while it has none.
func (p *Place) State() State {
	if p.present == nil {
		return p.between
	}
	return p.present.State()
}

// Start begins a worker. It is nil when the place has one that starts or serves, still waits, or is retired.
func (p *Place) Start(now time.Duration) *Life {
	if p.present != nil || p.between == Backoff && now < p.due || next[p.between][Start] == states {
		return nil
	}
	p.present = p.begin(now)
	return p.present
}

// Adopt makes a worker that was started beside all places, a spare, the place's own; its service begins now. It is false when the place has one that starts or
// serves, or is retired. A pause is not waited for, because nothing is started by it: what is left of it is for whoever starts the next spare to wait.
func (p *Place) Adopt(l *Life, now time.Duration) (pause time.Duration, ok bool) {
	if p.present != nil || next[p.between][Start] == states {
		return 0, false
	}
	pause = p.Pending(now)
	l.ready.Store(int64(now))
	p.present = l
	return pause, true
}

// Pending is how long the place still waits; zero when it does not.
func (p *Place) Pending(now time.Duration) time.Duration {
	if p.present == nil && p.between == Backoff {
		return max(0, p.due-now)
	}
	return 0
}

// Replace begins a second worker beside one that serves. It is nil when there is none, or another is coming already.
func (p *Place) Replace(now time.Duration) *Life {
	if p.present == nil || !p.present.Serves() || p.coming != nil {
		return nil
	}
	p.coming = p.begin(now)
	return p.coming
}

func (p *Place) begin(now time.Duration) *Life {
	l := &Life{times: p.Times}
	l.On(Start, now)
	return l
}

// Came makes the replacement the place's worker; the former one is to go, or has gone.
func (p *Place) Came() {
	if p.coming != nil {
		p.present, p.coming, p.bad = p.coming, nil, 0
	}
}

// Failed gives the replacement up: it did not become ready. The worker it was for stays.
func (p *Place) Failed() { p.coming = nil }

// Ended says that the place's worker serves no more, and how long to wait before the next start.
func (p *Place) Ended(how Ending, now time.Duration) (wait time.Duration) {
	long := p.present != nil && p.present.Served(now) >= healthy
	p.present, p.between = nil, Dead
	if long {
		p.bad = 0
	}
	switch how {
	case Charged, Meant:
		return 0
	case Unnamed:
		p.bad++
		if p.bad == 1 {
			return 0 // once is chance
		}
		wait = p.jitter(p.bad - 2)
	case Fruitless:
		p.bad++
		wait = p.jitter(p.bad - 1)
	}
	p.between, p.due = next[Dead][Wait], now+wait
	return wait
}

// jitter is a pause between nothing and 100 ms, doubled n times, 30 s at most: places whose workers died together do not start together.
func (p *Place) jitter(n int) time.Duration {
	top := min(firstWait<<min(n, 20), mostWait)
	random := p.Rand
	if random == nil {
		random = rand.Float64
	}
	return time.Duration(random() * float64(top))
}

// Park says that there is nothing to do for a worker here; Start wakes it.
func (p *Place) Park() {
	if p.present == nil && p.between == Dead {
		p.between = next[Dead][Park]
	}
}

// End says that the place is not needed any more. A worker it has is to go.
func (p *Place) End() {
	p.present, p.coming, p.between = nil, nil, Retired
}
