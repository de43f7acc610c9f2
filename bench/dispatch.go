package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"tandem"
)

// caller is a pool that can also be called: Call runs one task and returns when it has ended.
type caller interface {
	tandem.Pool
	Call(ctx context.Context, t *tandem.Task) error
}

func newTask() *tandem.Task {
	return &tandem.Task{ID: "bench", Value: tandem.Value{Kind: tandem.Bytes, Data: make([]byte, 64)}}
}

// callOnce runs t and turns every outcome but OK into an error.
func callOnce(ctx context.Context, pool caller, t *tandem.Task) error {
	t.Result = tandem.Result{}
	if err := pool.Call(context.WithoutCancel(ctx), t); err != nil {
		return err
	}
	return outcomeError(t)
}

func outcomeError(t *tandem.Task) error {
	if t.Result.Outcome == tandem.OK {
		return nil
	}
	if t.Result.Err != nil {
		return fmt.Errorf("a task ended as %s: %w", t.Result.Outcome, t.Result.Err)
	}
	return fmt.Errorf("a task ended as %q", t.Result.Outcome)
}

func syncCalls(ctx context.Context, b *bench, pool caller) (figures, error) {
	t := newTask()
	return oneByOne(ctx, b.duration(), func() error { return callOnce(ctx, pool, t) })
}

func waitingCallers(ctx context.Context, b *bench, pool caller) (figures, error) {
	return manyCallers(ctx, b.inFlight, b.duration(), func() func() error {
		t := newTask()
		return func() error { return callOnce(ctx, pool, t) }
	})
}

// submitted keeps 256 tasks per worker on the way: it submits what has come back, as many at a time as there are.
func submitted(ctx context.Context, b *bench, pool caller) (figures, error) {
	back := newReturns()
	flying := b.inFlight * b.workers
	free := make([]*tandem.Task, flying)
	for i := range free {
		free[i] = newTask()
		free[i].Owner = back
	}
	var done int64
	var counted time.Time // when the warm-up was over
	for start := time.Now(); ; {
		if err := submitAll(ctx, pool, free); err != nil {
			return nil, err
		}
		free = back.take(ctx, free[:0])
		if err := back.check(free); err != nil {
			return nil, err
		}
		done += int64(len(free))
		now := time.Now()
		if counted.IsZero() && now.Sub(start) > b.duration()/5 {
			done, counted = 0, now
		}
		if ctx.Err() != nil || !counted.IsZero() && now.Sub(counted) > b.duration() {
			figures := perSecond(done, now.Sub(counted))
			for n := flying - len(free); n > 0; n -= len(free) { // nothing may complete after the return
				free = back.take(ctx, free[:0])
				if len(free) == 0 {
					break // ctx is done; the pool cancels the rest
				}
			}
			return figures, context.Cause(ctx)
		}
	}
}

func submitAll(ctx context.Context, pool tandem.Pool, tasks []*tandem.Task) error {
	for len(tasks) > 0 {
		n, err := pool.Submit(ctx, tasks)
		if err != nil {
			return fmt.Errorf("submit: %w", err)
		}
		tasks = tasks[n:]
	}
	return nil
}

// returns gathers tasks that have ended until the submitter takes them.
type returns struct {
	mu    sync.Mutex
	ended []*tandem.Task
	some  chan struct{} // holds one token while ended is not empty
}

func newReturns() *returns { return &returns{some: make(chan struct{}, 1)} }

// Complete is tandem.Completer's.
func (r *returns) Complete(ended []*tandem.Task) {
	r.mu.Lock()
	r.ended = append(r.ended, ended...)
	r.mu.Unlock()
	select {
	case r.some <- struct{}{}:
	default:
	}
}

// take waits for ended tasks and appends them to buf. It gives none only when ctx is done.
func (r *returns) take(ctx context.Context, buf []*tandem.Task) []*tandem.Task {
	for {
		r.mu.Lock()
		buf = append(buf, r.ended...)
		r.ended = r.ended[:0]
		r.mu.Unlock()
		if len(buf) > 0 {
			return buf
		}
		select {
		case <-r.some:
		case <-ctx.Done():
			return buf
		}
	}
}

// check gives the first error among the ended and makes them ready for the next time.
func (r *returns) check(ended []*tandem.Task) error {
	for _, t := range ended {
		if err := outcomeError(t); err != nil {
			return err
		}
		t.Result = tandem.Result{} // it is submitted again
	}
	return nil
}

// handOver calls with a large payload until the time is up; the worker must answer want.
func handOver(ctx context.Context, b *bench, pool caller, data []byte, want string) (figures, error) {
	t := &tandem.Task{ID: "bench", Value: tandem.Value{Kind: tandem.Bytes, Data: data}}
	call := func() error {
		if err := callOnce(ctx, pool, t); err != nil {
			return err
		}
		if got := string(t.Result.Value.Data); got != want {
			return fmt.Errorf("hand over %d bytes: the worker saw %s", len(data), got)
		}
		return nil
	}
	for range 2 * b.workers { // arenas that exist, as with shm-reused
		if err := call(); err != nil {
			return nil, err
		}
	}
	var took []float64
	for start := time.Now(); len(took) == 0 || time.Since(start) < b.duration(); {
		before := time.Now()
		if err := call(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(before).Seconds())
	}
	slices.Sort(took)
	median := quantile(took, 0.5)
	return figures{"call": median * 1e3, "rate": float64(len(data)) / median / 1e9}, nil
}
