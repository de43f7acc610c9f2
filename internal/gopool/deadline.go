package gopool

import (
	"context"
	"sync"
	"time"

	"tandem/internal/supervise"
)

// deadline is the context of an attempt that has a timeout. It ends as context.WithTimeout's does, but time in which this process did not run is not counted: the answer may lie in
// the socket. Contexts made from it end as canceled, with the cause DeadlineExceeded.
type deadline struct {
	context.Context
	at time.Time
}

func (d deadline) Deadline() (time.Time, bool) { return d.at, true }

func (d deadline) Err() error {
	err := d.Context.Err()
	if err != nil && context.Cause(d.Context) == context.DeadlineExceeded {
		return context.DeadlineExceeded
	}
	return err
}

// within gives the context of an attempt that begins now.
func (p *Pool) within(begun time.Time) (ctx context.Context, cancel func()) {
	inner, end := context.WithCancelCause(p.ctx)
	since := time.Since(p.clock.start)
	var mu sync.Mutex
	var timer *time.Timer
	mu.Lock()
	timer = time.AfterFunc(p.cfg.Timeout, func() {
		left := p.cfg.Timeout - p.clock.elapsed(since)
		mu.Lock()
		defer mu.Unlock()
		if left > time.Millisecond && inner.Err() == nil {
			timer.Reset(left)
			return
		}
		end(context.DeadlineExceeded)
	})
	mu.Unlock()
	return deadline{inner, begun.Add(p.cfg.Timeout)}, func() {
		mu.Lock()
		timer.Stop()
		mu.Unlock()
		end(nil)
	}
}

// clock notices when this process did not run.
type clock struct {
	start time.Time
	mu    sync.Mutex
	c     supervise.Clock
}

func (c *clock) elapsed(since time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.c.Elapsed(since, time.Since(c.start))
}

// run ticks until ctx ends.
func (c *clock) run(ctx context.Context, every time.Duration) {
	c.mu.Lock()
	c.c.Begin(every, time.Since(c.start))
	c.mu.Unlock()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.mu.Lock()
			c.c.Tick(time.Since(c.start))
			c.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}
