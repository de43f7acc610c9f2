package limit

import (
	"cmp"
	"fmt"
	"time"
)

// Breaker stops everything for a while when a server does not do its work.
type Breaker struct {
	Failures int           // Broken or Away in a row that open it; zero means no breaker
	Pause    time.Duration // before one task may try again; zero means 10 s
}

// BreakerState is whether a breaker lets tasks through.
type BreakerState string

const (
	Closed   BreakerState = "closed"    // it does
	Open     BreakerState = "open"      // it does not
	HalfOpen BreakerState = "half-open" // one task is trying
)

// breaker is the state of a Breaker. While it is open nothing starts. Then it waits until nothing is in flight any more, so that the one answer which comes
// next is certainly that of the one task which tries. Bad and Ignore say nothing: another task tries.
type breaker struct {
	cfg    Breaker
	state  BreakerState
	failed int       // in a row
	until  time.Time // open until then
	canary bool      // one task is trying
	reason string
}

// lets tells whether a task may start, and when it is a matter of time, how long.
func (b *breaker) lets(now time.Time, inflight int) (bool, time.Duration) {
	switch {
	case b.state == Closed:
		return true, 0
	case b.canary || inflight > 0:
		return false, 0
	}
	if wait := b.until.Sub(now); wait > 0 {
		return false, wait
	}
	return true, 0
}

// started is told that a task starts, which lets has allowed.
func (b *breaker) started() {
	if b.state == Open {
		b.state, b.canary = HalfOpen, true
	}
}

func (b *breaker) observe(now time.Time, latency time.Duration, v Verdict) {
	if b.cfg.Failures <= 0 {
		return
	}
	tried := b.canary
	b.canary = false
	switch {
	case b.state == Open: // a task of before: the pause goes on
	case v == Broken || v == Away:
		b.failed++
		if tried {
			b.open(now, fmt.Sprintf("the trial failed too, after %s", latency.Round(time.Millisecond)))
		} else if b.failed >= b.cfg.Failures {
			b.open(now, fmt.Sprintf("%d failed in a row, the last one after %s", b.failed, latency.Round(time.Millisecond)))
		}
	case v == Good || v == Overload: // it answers
		b.state, b.failed = Closed, 0
	case tried:
		b.state = Open // and the pause is over: the next one tries
	}
}

func (b *breaker) open(now time.Time, why string) {
	b.state, b.reason = Open, why
	b.until = now.Add(cmp.Or(b.cfg.Pause, 10*time.Second))
}
