package queue

import (
	"context"
	"time"

	"tandem"
)

// lease is one delivery of an entry.
type lease struct {
	q          *Memory
	e          *entry
	generation int
	attempt    int
}

func (l *lease) Message() *tandem.Message { return &l.e.m }
func (l *lease) Attempt() int             { return l.attempt }

// Take is tandem.Queue's.
func (q *Memory) Take(ctx context.Context, most int) ([]tandem.Lease, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.closed {
			return nil, tandem.ErrClosed
		}
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		now := time.Now()
		q.expire(now)
		if n := min(most, q.ready.n); n > 0 {
			return q.hand(n, now), nil
		}
		if err := q.wait(ctx, &q.takers); err != nil {
			return nil, err
		}
	}
}

func (q *Memory) hand(n int, now time.Time) []tandem.Lease {
	slab, out := make([]lease, n), make([]tandem.Lease, n)
	for i := range n {
		e := q.ready.first
		q.ready.remove(e)
		e.attempt++
		e.generation++
		e.due = now.Add(q.cfg.Lease)
		q.leased.push(e)
		slab[i] = lease{q, e, e.generation, e.attempt}
		out[i] = &slab[i]
	}
	return out
}

// expire takes back leases whose deadline has passed and brings up what is not delayed any more.
func (q *Memory) expire(now time.Time) {
	freed := false
	for e := q.leased.first; e != nil && !e.due.After(now); e = q.leased.first {
		q.leased.remove(e)
		e.generation++
		if e.attempt >= q.cfg.Attempts && len(q.dead) < tandem.MaxDead {
			q.bury(e, lapsed(e.cause), now)
			freed = true
			continue
		}
		q.ready.push(e)
	}
	for len(q.delayed) > 0 && !q.delayed[0].due.After(now) {
		q.ready.push(q.delayed.pop())
	}
	if freed && q.putters > 0 {
		q.changed.Broadcast()
	}
}

func lapsed(cause string) string {
	if cause == "" {
		return "every holder let its lease lapse"
	}
	return cause + "; and the last holder let its lease lapse"
}

// wait waits once for a change, until the next deadline or delay, or until ctx is done.
func (q *Memory) wait(ctx context.Context, who *int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	stop := context.AfterFunc(ctx, q.wake)
	*who++
	q.arm()
	q.changed.Wait()
	*who--
	stop()
	q.expire(time.Now())
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (q *Memory) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.changed.Broadcast()
}

// arm sets the alarm to the next moment at which something changes by itself.
func (q *Memory) arm() {
	var next time.Time
	if q.leased.first != nil {
		next = q.leased.first.due
	}
	if len(q.delayed) > 0 && (next.IsZero() || q.delayed[0].due.Before(next)) {
		next = q.delayed[0].due
	}
	switch {
	case next.IsZero():
	case q.alarm == nil:
		q.alarm = time.AfterFunc(time.Until(next), q.wake)
	default:
		q.alarm.Reset(time.Until(next))
	}
}

// rearm follows a change that may have brought the next moment forward, while somebody waits.
func (q *Memory) rearm() {
	if q.takers+q.putters > 0 {
		q.arm()
	}
}

// Done is tandem.Queue's.
func (q *Memory) Done(_ context.Context, leases ...tandem.Lease) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	var err error
	for _, t := range leases {
		l, ok := t.(*lease)
		if !ok || l.q != q || !l.holds(now) {
			err = tandem.ErrLost
			continue
		}
		q.leased.remove(l.e)
		l.e.generation++
		q.left(l.e, now)
	}
	if q.putters+q.takers > 0 {
		q.changed.Broadcast()
	}
	return err
}

// holds tells whether the lease is the last of its entry and its deadline is still to come.
func (l *lease) holds(now time.Time) bool {
	return l.e.in == &l.q.leased && l.e.generation == l.generation && l.e.due.After(now)
}

// end does something with a lease that holds, and ends it unless it says so.
func (l *lease) end(then func(now time.Time) error) error {
	q := l.q
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if !l.holds(now) {
		return tandem.ErrLost
	}
	if err := then(now); err != nil {
		return err
	}
	q.rearm()
	if q.putters+q.takers > 0 {
		q.changed.Broadcast()
	}
	return nil
}

func (l *lease) Extend(context.Context) error {
	return l.end(func(now time.Time) error {
		l.q.leased.remove(l.e)
		l.e.due = now.Add(l.q.cfg.Lease)
		l.q.leased.push(l.e)
		return nil
	})
}

func (l *lease) Retry(_ context.Context, cause error) error {
	return l.end(func(now time.Time) error {
		e := l.e
		if cause != nil {
			e.cause = cause.Error()
		}
		if l.attempt >= l.q.cfg.Attempts {
			return l.q.kill(e, e.cause, now)
		}
		l.q.leased.remove(e)
		e.generation++
		e.due = now.Add(l.q.cfg.Backoff(l.attempt))
		l.q.delayed.push(e)
		return nil
	})
}

func (l *lease) Release(context.Context) error {
	return l.end(func(time.Time) error {
		l.q.leased.remove(l.e)
		l.e.generation++
		l.e.attempt--
		l.q.ready.unshift(l.e)
		return nil
	})
}

func (l *lease) Kill(_ context.Context, reason string) error {
	return l.end(func(now time.Time) error { return l.q.kill(l.e, reason, now) })
}
