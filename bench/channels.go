package main

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The Go programmer's own answer, inside one process: what worker processes are compared with.

type message [64]byte

type request struct {
	body  message
	reply chan message
}

// serve answers requests until the channel is closed.
func serve(requests <-chan request, servers int) *sync.WaitGroup {
	var done sync.WaitGroup
	for range servers {
		done.Go(func() {
			for r := range requests {
				r.reply <- r.body
			}
		})
	}
	return &done
}

func chanSync(ctx context.Context, b *bench) (figures, error) {
	requests := make(chan request)
	served := serve(requests, 1)
	reply := make(chan message, 1)
	took, err := oneByOne(ctx, b.duration(), func() error {
		requests <- request{reply: reply}
		<-reply
		return nil
	})
	close(requests)
	served.Wait()
	return took, err
}

func chanCall(ctx context.Context, b *bench) (figures, error) {
	requests := make(chan request, b.inFlight)
	served := serve(requests, b.workers)
	got, err := manyCallers(ctx, b.inFlight, b.duration(), func() func() error {
		reply := make(chan message, 1)
		return func() error {
			requests <- request{reply: reply}
			<-reply
			return nil
		}
	})
	close(requests)
	served.Wait()
	return got, err
}

func chanStream(ctx context.Context, b *bench) (figures, error) {
	in, out := make(chan message, b.inFlight), make(chan message, b.inFlight)
	var servers, consumer sync.WaitGroup
	for range b.workers {
		servers.Go(func() {
			for m := range in {
				out <- m
			}
		})
	}
	count := 0
	consumer.Go(func() {
		for range out {
			count++
		}
	})
	start := time.Now()
	for time.Since(start) < b.duration() && ctx.Err() == nil {
		for range 1024 { // look at the clock rarely
			in <- message{}
		}
	}
	close(in)
	servers.Wait()
	close(out)
	consumer.Wait()
	return perSecond(int64(count), time.Since(start)), nil
}

// oneByOne calls again and again, after a short warm-up, and gives the latency.
func oneByOne(ctx context.Context, length time.Duration, call func() error) (figures, error) {
	var took []float64
	for start := time.Now(); ctx.Err() == nil && (time.Since(start) < length || len(took) < 300); {
		before := time.Now()
		if err := call(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(before).Seconds()*1e6)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	took = took[len(took)/10:] // the first tenth warms up
	slices.Sort(took)
	return figures{"p50": quantile(took, 0.5), "p99": quantile(took, 0.99)}, nil
}

// manyCallers has n goroutines call and wait, each with a call of its own, and gives the calls a second of all together. A fifth of the
// time warms up and is not counted.
func manyCallers(ctx context.Context, n int, length time.Duration, newCall func() func() error) (figures, error) {
	tallies := make([]tally, n)
	calls := func() (sum int64) {
		for i := range tallies {
			sum += tallies[i].Load()
		}
		return sum
	}
	var stopped atomic.Bool
	var callers sync.WaitGroup
	failed := make(chan error, n)
	for i := range n {
		call := newCall()
		callers.Go(func() {
			for !stopped.Load() {
				if err := call(); err != nil {
					failed <- err
					break
				}
				tallies[i].Add(1)
			}
		})
	}
	nap(ctx, length/5)
	before, start := calls(), time.Now()
	nap(ctx, length)
	counted, spent := calls()-before, time.Since(start)
	stopped.Store(true)
	callers.Wait()
	select {
	case err := <-failed:
		return nil, err
	default:
		return perSecond(counted, spent), context.Cause(ctx)
	}
}

// tally has a cache line of its own: a counter that all callers share would be part of the figure.
type tally struct {
	atomic.Int64
	_ [56]byte
}

func perSecond(n int64, spent time.Duration) figures {
	return figures{"rate": float64(n) / spent.Seconds() / 1e3}
}

func nap(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (b *bench) duration() time.Duration { return time.Duration(b.seconds * float64(time.Second)) }
