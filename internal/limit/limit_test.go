package limit

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// acquire calls Acquire from a goroutine of its own and tells when it is through.
func acquire(l *Limit, ctx context.Context) chan error {
	done := make(chan error, 1)
	go func() { done <- l.Acquire(ctx) }()
	synctest.Wait()
	return done
}

func through(t *testing.T, done chan error) bool {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
		return true
	default:
		return false
	}
}

func TestWaitersComeThroughInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Concurrency: 1})
		if err := l.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		var all []chan error
		for range 5 {
			all = append(all, acquire(l, t.Context()))
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("enough")
		gone := acquire(l, ctx)
		last := acquire(l, t.Context())
		cancel(why)
		if err := <-gone; !errors.Is(err, why) {
			t.Errorf("got %v, want the cause", err)
		}
		if s := l.State(); s.Waiting != 6 || s.InFlight != 1 || s.Limit != 1 {
			t.Errorf("%+v", s)
		}
		for i, c := range append(all, last) {
			if through(t, c) {
				t.Fatalf("waiter %d is through without a slot", i)
			}
			l.Release(0, Good, 0)
			if !through(t, c) {
				t.Fatalf("waiter %d is not the next", i)
			}
		}
		l.Release(0, Good, 0)
		if err := l.Acquire(ctx); !errors.Is(err, why) {
			t.Errorf("a context that has ended: got %v", err)
		}
		if s := l.State(); s.Waiting != 0 || s.InFlight != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Rate: 10, Burst: 3})
		began := time.Now()
		var at []time.Duration
		for range 6 {
			if err := l.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			at = append(at, time.Since(began).Round(time.Millisecond))
			l.Release(0, Good, 0)
		}
		if want := []time.Duration{0, 0, 0, 100 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond}; !slices.Equal(at, want) {
			t.Errorf("started at %v, want %v", at, want)
		}
		waits := acquire(l, t.Context())
		if s := l.State(); s.Rate != 10 || s.Because != "10 a second are set" {
			t.Errorf("%+v", s)
		}
		<-waits
		l.Release(0, Good, 0)
	})
}

// A server that asks to be left alone is, by everybody, and the longest wish counts.
func TestRetryAfterHoldsEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{})
		for range 3 {
			if err := l.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		l.Release(time.Millisecond, Overload, 5*time.Second)
		l.Release(time.Millisecond, Overload, time.Second)
		l.Release(time.Millisecond, Good, time.Hour) // what a good answer says of later is not for now
		if s := l.State(); s.Held != 5*time.Second || s.Because != "the server asked to be left alone for another 5s" {
			t.Errorf("%+v", s)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if err := l.Acquire(t.Context()); err != nil {
					t.Error(err)
				}
				if d := time.Since(began); d != 5*time.Second {
					t.Errorf("through after %s", d)
				}
			})
		}
		wg.Wait()
		for range 4 {
			l.Release(0, Ignore, 0)
		}
	})
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Breaker: Breaker{Failures: 3, Pause: 10 * time.Second}})
		end := func(v Verdict) { l.Release(20*time.Millisecond, v, 0) }
		start := func() {
			t.Helper()
			if err := l.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, v := range []Verdict{Broken, Broken, Good, Broken, Bad, Ignore, Broken, Overload, Broken, Away} {
			start()
			end(v)
		}
		if s := l.State(); s.Breaker != Closed || s.Reason != "" {
			t.Errorf("opened although no three failed in a row: %+v", s)
		}
		start()
		start()
		end(Broken) // the third in a row
		if s := l.State(); s.Breaker != Open || s.Reason != "3 failed in a row, the last one after 20ms" {
			t.Errorf("%+v", s)
		}
		var all []chan error
		for range 4 {
			all = append(all, acquire(l, t.Context()))
		}
		time.Sleep(11 * time.Second)
		if through(t, all[0]) {
			t.Error("a trial starts while an old task may still come back and be taken for it")
		}
		end(Good) // the old one
		if !through(t, all[0]) || through(t, all[1]) || l.State().Breaker != HalfOpen {
			t.Errorf("want exactly one trial: %+v", l.State())
		}
		time.Sleep(time.Minute)
		if through(t, all[1]) {
			t.Error("a second trial next to the first")
		}
		end(Bad) // says nothing: the next one tries, at once
		if !through(t, all[1]) || through(t, all[2]) {
			t.Error("want exactly one other trial")
		}
		end(Broken)
		time.Sleep(9 * time.Second)
		if through(t, all[2]) || l.State().Reason != "the trial failed too, after 20ms" {
			t.Errorf("a failed trial means another pause: %+v", l.State())
		}
		time.Sleep(2 * time.Second)
		if !through(t, all[2]) || through(t, all[3]) {
			t.Error("want one trial after the pause")
		}
		end(Good)
		if !through(t, all[3]) || l.State().Breaker != Closed {
			t.Errorf("%+v", l.State())
		}
		end(Good)
	})
}

func TestReleaseTooMany(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a Release without Acquire went unnoticed")
		}
	}()
	New(Config{Concurrency: 2}).Release(0, Good, 0)
}

// Whatever limits and however tasks end: never more in flight than the limit, nobody waits for ever, every slot comes back.
func TestLimitProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := Config{
			Concurrency: rapid.IntRange(0, 6).Draw(rt, "concurrency"), Auto: rapid.Bool().Draw(rt, "auto"), Max: rapid.IntRange(0, 9).Draw(rt, "max"),
			Rate: float64(rapid.SampledFrom([]int{0, 0, 3, 100, 10000}).Draw(rt, "rate")), Burst: rapid.IntRange(0, 5).Draw(rt, "burst"),
			Breaker: Breaker{Failures: rapid.IntRange(0, 3).Draw(rt, "failures"), Pause: time.Second},
		}
		seed := rapid.Uint64().Draw(rt, "seed")
		tasks := rapid.IntRange(1, 60).Draw(rt, "tasks")
		synctest.Test(t, func(t *testing.T) {
			l := New(c)
			var mu sync.Mutex
			r := rand.New(rand.NewPCG(seed, 1))
			var wg sync.WaitGroup
			for range tasks {
				latency, v, after := time.Duration(r.IntN(300))*time.Millisecond, Verdict(r.IntN(5)), time.Duration(0)
				if v == Overload && r.IntN(2) == 0 {
					after = time.Duration(r.IntN(3000)) * time.Millisecond
				}
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if r.IntN(4) == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(400))*time.Millisecond)
				}
				begins := time.Duration(r.IntN(500)) * time.Millisecond
				wg.Go(func() {
					defer cancel()
					time.Sleep(begins)
					if l.Acquire(ctx) != nil {
						return
					}
					mu.Lock()
					s := l.State()
					mu.Unlock()
					if s.Limit > 0 && !c.Auto && s.InFlight > s.Limit {
						t.Errorf("%d in flight, %d allowed", s.InFlight, s.Limit)
					}
					if s.Breaker == HalfOpen && s.InFlight > 1 {
						t.Errorf("%d in flight while one task tries", s.InFlight)
					}
					time.Sleep(latency)
					l.Release(latency, v, after)
				})
			}
			wg.Wait() // in virtual time; a waiter for ever is a deadlock, which synctest reports
			if s := l.State(); s.InFlight != 0 || s.Waiting != 0 || l.first != nil || l.last != nil {
				t.Errorf("left over: %+v", s)
			}
		})
	})
}

// With Auto the limit may shrink between Acquire and a look at State, so the look is taken inside.
func TestNeverMoreThanTheLimitAtAcquire(t *testing.T) {
	l := New(Config{Auto: true, Max: 20})
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		before := l.inflight
		l.mu.Lock()
		ok, _ := l.admit()
		l.mu.Unlock()
		if ok && l.inflight > l.auto.Limit() || !ok && before < l.auto.Limit() {
			t.Fatalf("admitted %v at %d of %d", ok, before, l.auto.Limit())
		}
		for l.inflight > 0 && r.IntN(3) > 0 {
			l.Release(time.Duration(r.IntN(100))*time.Millisecond, Verdict(r.IntN(5)), 0)
		}
	}
}

// The whole of it in virtual time: two steps share one Limit in front of a server with 20 slots.
func TestAutoSharedByTwoSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Auto: true})
		slots := make(chan struct{}, 20)
		var mu sync.Mutex
		var begun atomic.Int64
		ended := [2]int{}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for step := range 2 {
			wg.Go(func() { // a step hands over one task after the other, as the engine does
				for l.Acquire(ctx) == nil {
					wg.Go(func() {
						began := time.Now()
						slots <- struct{}{}
						// No two end in the same moment: then both steps wait when a place gets free, and it is the order that decides, not the scheduler.
						time.Sleep(45*time.Millisecond + time.Duration(begun.Add(1)*7919%10007)*time.Microsecond)
						<-slots
						l.Release(time.Since(began), Good, 0)
						mu.Lock()
						defer mu.Unlock()
						ended[step]++
					})
				}
			})
		}
		wg.Wait()
		if n := ended[0] + ended[1]; n < 7600 { // 8000 are possible
			t.Errorf("%d ended, of 8000: %+v", n, l.State())
		}
		if a, b := ended[0], ended[1]; a > b+b/20 || b > a+a/20 {
			t.Errorf("the steps had %d and %d", a, b)
		}
	})
}

func BenchmarkNothingLimits(b *testing.B) {
	l := New(Config{Concurrency: 1 << 30})
	ctx := b.Context()
	for b.Loop() {
		_ = l.Acquire(ctx)
		l.Release(time.Millisecond, Good, 0)
	}
}

func BenchmarkEverything(b *testing.B) {
	l := New(Config{Auto: true, Rate: 1e9, Burst: 1 << 30, Breaker: Breaker{Failures: 5}})
	ctx := b.Context()
	for b.Loop() {
		_ = l.Acquire(ctx)
		l.Release(time.Millisecond, Good, 0)
	}
}
