// Package limit says what may be in flight at a server and how often a task may start.
//
// Promises:
//
//   - A [Limit] may be shared by several steps. Whoever waits in Acquire gets through in the order of arrival, whichever step it is of.
//   - Acquire returns nil once there is a slot, a token, no pause asked for by the server, and the breaker lets through. At that moment no more are in flight
//     than the limit says; one that shrinks later is reached as tasks end.
//   - Every nil from Acquire is followed by exactly one Release. A Release too many panics: the count would be a lie from then on.
//   - It has no goroutine of its own and none for each waiter. A waiter sleeps until a slot comes back, or until the one timer of the Limit fires.
//   - Acquire and Release together take some twenty nanoseconds when nobody waits for a fixed limit, a quarter of a microsecond with everything on, and one mutex.
//   - A [Controller], which finds the limit by itself, is pure: no clock, no lock, no system.
package limit

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Config says what limits. The zero value limits nothing, but holds back when a server asks for it.
type Config struct {
	Concurrency int     // tasks in flight; zero means no limit. With Auto, where the search starts; zero means 2
	Auto        bool    // find the limit by latency and complaints
	Max         int     // of Auto; zero means 1024
	Rate        float64 // tasks started a second; zero means no limit
	Burst       int     // tasks that may start at once after a pause; zero means what Rate gives in 20 ms, and at least one
	Breaker     Breaker
	// Among, unless nil, says how many processes share Rate and a fixed Concurrency; it may change at any time. Each gets an equal part, and at least one slot.
	Among *atomic.Int64
}

// Most is the largest number of tasks that the Limit will let be in flight; zero means any number.
func (c Config) Most() int {
	if c.Auto {
		return cmp.Or(c.Max, defaultMax)
	}
	return c.Concurrency
}

// Limit is made by New.
type Limit struct {
	cfg    Config
	auto   *Controller
	bucket *rate.Limiter // nil when nothing limits the rate

	mu       sync.Mutex
	inflight int
	first    *waiter // the one that has waited longest
	last     *waiter
	waiting  int
	breaker  breaker
	held     time.Time // the server asked to wait until then
	timer    *time.Timer
	alarmed  bool  // timer will fire
	among    int64 // that the bucket is for
}

// waiter is one call of Acquire.
type waiter struct {
	through    chan struct{} // closed when the slot is its own
	next, prev *waiter
}

// New is a Limit with nothing in flight.
func New(c Config) *Limit {
	l := &Limit{cfg: c, breaker: breaker{cfg: c.Breaker, state: Closed}}
	if c.Auto {
		l.auto = NewController(Bounds{Max: c.Max, Start: c.Concurrency})
	}
	if c.Rate > 0 {
		l.bucket = rate.NewLimiter(rate.Limit(c.Rate), max(cmp.Or(c.Burst, int(c.Rate/50)), 1))
	}
	return l
}

// Acquire waits for leave to start a task. It fails only with the cause of ctx.
func (l *Limit) Acquire(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	l.mu.Lock()
	if l.first == nil {
		if ok, _ := l.admit(); ok {
			l.mu.Unlock()
			return nil
		}
	}
	w := &waiter{through: make(chan struct{}), prev: l.last}
	if l.last == nil {
		l.first = w
	} else {
		l.last.next = w
	}
	l.last = w
	l.waiting++
	if l.first == w {
		l.wake() // sets the timer, when it is a matter of time
	}
	l.mu.Unlock()
	select {
	case <-w.through:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-w.through: // it had come through in the meantime
		return nil
	default:
	}
	l.remove(w)
	if l.first == nil {
		l.still()
	}
	return context.Cause(ctx)
}

// Release gives back what Acquire gave: how long the task took, what its answer says about the server, and with Overload how long the server asked to be
// left alone, which holds everybody back.
func (l *Limit) Release(latency time.Duration, v Verdict, after time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.inflight == 0 {
		panic("limit: Release without Acquire")
	}
	if l.auto != nil || l.cfg.Breaker.Failures > 0 || after > 0 {
		now := time.Now()
		if v == Overload && after > 0 && now.Add(after).After(l.held) {
			l.held = now.Add(after)
		}
		if l.auto != nil {
			l.auto.Observe(now, latency, l.inflight, v)
		}
		l.breaker.observe(now, latency, v)
	}
	l.inflight--
	l.wake()
}

// admit starts a task if one may start now. If not, and it is a matter of time alone, it says how long that may take.
func (l *Limit) admit() (ok bool, wait time.Duration) {
	if most := l.most(); most > 0 && l.inflight >= most {
		return false, 0
	}
	if l.bucket == nil && l.held.IsZero() && l.breaker.state == Closed {
		l.inflight++
		return true, 0
	}
	now := time.Now()
	l.share(now)
	if wait = l.held.Sub(now); wait > 0 && !l.held.IsZero() {
		return false, wait
	}
	l.held = time.Time{}
	if ok, wait = l.breaker.lets(now, l.inflight); !ok {
		return false, wait
	}
	if l.bucket != nil && !l.bucket.AllowN(now, 1) {
		missing := 1 - l.bucket.TokensAt(now)
		return false, max(time.Duration(math.Ceil(missing/float64(l.bucket.Limit())*1e9)), 1)
	}
	l.breaker.started()
	l.inflight++
	return true, 0
}

// most is the number in flight that is allowed, or 0.
func (l *Limit) most() int {
	if l.auto != nil {
		return l.auto.Limit()
	}
	if l.cfg.Among != nil && l.cfg.Concurrency > 0 {
		return max(1, l.cfg.Concurrency/int(max(1, l.cfg.Among.Load())))
	}
	return l.cfg.Concurrency
}

// wake lets through whoever may start, in order, and sets the timer for the next one.
func (l *Limit) wake() {
	for l.first != nil {
		ok, wait := l.admit()
		if !ok {
			l.alarm(wait)
			return
		}
		w := l.first
		l.remove(w)
		close(w.through)
	}
	l.still()
}

func (l *Limit) alarm(wait time.Duration) {
	if wait <= 0 {
		l.still() // a Release will come
		return
	}
	if l.alarmed {
		return // what is waited for can come later than that, never sooner
	}
	l.alarmed = true
	if l.timer == nil {
		l.timer = time.AfterFunc(wait, l.rings)
		return
	}
	l.timer.Reset(wait)
}

func (l *Limit) rings() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.alarmed = false
	l.wake()
}

// still stops the timer: nobody waits for it.
func (l *Limit) still() {
	if l.alarmed {
		l.timer.Stop()
		l.alarmed = false
	}
}

func (l *Limit) remove(w *waiter) {
	if w.prev == nil {
		l.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	l.waiting--
}

// State is a snapshot of a Limit.
type State struct {
	Limit    int // tasks that may be in flight; zero means any number
	InFlight int
	Waiting  int     // callers of Acquire
	Because  string  // why no more are in flight, in one sentence
	Rate     float64 // tokens a second; zero means no limit
	Tokens   float64 // there now
	Breaker  BreakerState
	Reason   string        // why the breaker opened the last time; empty when it never did
	Held     time.Duration // how long the server still wants to be left alone
}

// State tells what l is doing.
func (l *Limit) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := State{Limit: l.most(), InFlight: l.inflight, Waiting: l.waiting, Rate: l.cfg.Rate / float64(max(1, l.among)), Breaker: l.breaker.state, Reason: l.breaker.reason}
	now := time.Now()
	if !l.held.IsZero() {
		s.Held = max(l.held.Sub(now), 0)
	}
	if l.bucket != nil {
		s.Tokens = l.bucket.TokensAt(now)
	}
	switch {
	case s.Breaker != Closed:
		s.Because = "the breaker is " + string(s.Breaker) + ": " + s.Reason
	case s.Held > 0:
		s.Because = fmt.Sprintf("the server asked to be left alone for another %s", s.Held.Round(time.Millisecond))
	case l.bucket != nil && s.Waiting > 0 && (s.Limit == 0 || s.InFlight < s.Limit):
		s.Because = fmt.Sprintf("%g a second are set", s.Rate)
	case l.auto != nil:
		s.Because = l.auto.Because()
	case s.Limit > 0:
		s.Because = fmt.Sprintf("%d in flight are set", s.Limit)
	default:
		s.Because = "nothing limits it"
	}
	return s
}
