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
	generation int32
	attempt    int32
}

func (l *lease) Message() *tandem.Message { return &l.e.m }
func (l *lease) Attempt() int             { return int(l.attempt) }

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
		now := q.now()
		q.expire(now)
		if n := min(most, q.ready.n); n > 0 {
			return q.hand(n, now), nil
		}
		if err := q.wait(ctx, &q.takers); err != nil {
			return nil, err
		}
	}
}

func (q *Memory) hand(n int, now time.Duration) []tandem.Lease {
	slab, out := make([]lease, n), make([]tandem.Lease, n)
	first := q.ready.first
	e, last := first, first
	for i := range n {
		e.attempt++
		e.generation++
		e.in, e.due = isLeased, now+q.cfg.Lease
		slab[i] = lease{q, e, e.generation, e.attempt}
		out[i] = &slab[i]
		last, e = e, e.next
	}
	q.ready.cut(first, last, n)
	q.leased.join(first, last, n)
	return out
}

// expire takes back leases whose deadline has passed and brings up what is not delayed any more.
func (q *Memory) expire(now time.Duration) {
	freed := false
	for e := q.leased.first; e != nil && e.due <= now; e = q.leased.first {
		q.leased.remove(e)
		e.generation++
		if int(e.attempt) >= q.cfg.Attempts && len(q.dead) < tandem.MaxDead {
			q.bury(e, lapsed(e.cause), now)
			freed = true
			continue
		}
		q.ready.push(e)
	}
	for len(q.delayed) > 0 && q.delayed[0].due <= now {
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
	q.expire(q.now())
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

// arm sets the alarm to the next moment at which something changes by itself. One that rings earlier stays: it is set anew when it has.
func (q *Memory) arm() {
	var next time.Duration
	if q.leased.first != nil {
		next = q.leased.first.due
	}
	if len(q.delayed) > 0 && (next == 0 || q.delayed[0].due < next) {
		next = q.delayed[0].due
	}
	if next == 0 || q.armed != 0 && q.armed <= next {
		return
	}
	q.armed = next
	if wait := next - q.now(); q.alarm == nil {
		q.alarm = time.AfterFunc(wait, q.ring)
	} else {
		q.alarm.Reset(wait)
	}
}

func (q *Memory) ring() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.armed = 0
	if q.takers+q.putters > 0 {
		q.changed.Broadcast() // who still waits sets it anew
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
	now := q.now()
	var err error
	for i := 0; i < len(leases); {
		l, ok := leases[i].(*lease)
		if i++; !ok || l.q != q || !l.holds(now) {
			err = tandem.ErrLost
			continue
		}
		// Those that were taken together stand together, and go together.
		first, last, n := l.e, l.e, 1
		for ; i < len(leases); i, n = i+1, n+1 {
			next, ok := leases[i].(*lease)
			if !ok || next.q != q || next.e != last.next || !next.holds(now) {
				break
			}
			last = next.e
		}
		q.finish(first, last, n, now)
	}
	if q.putters > 0 || q.takers > 0 && q.cfg.Ordered {
		q.changed.Broadcast()
	}
	return err
}

// finish lets a chain of leased entries go.
func (q *Memory) finish(first, last *entry, n int, now time.Duration) {
	q.leased.cut(first, last, n)
	for e := first; e != nil; {
		next := e.next
		e.in, e.prev, e.next = nowhere, nil, nil // who keeps the message would keep all that came after it
		e.generation++
		q.left(e, now)
		e = next
	}
}

// holds tells whether the lease is the last of its entry and its deadline is still to come.
func (l *lease) holds(now time.Duration) bool {
	return l.e.in == isLeased && l.e.generation == l.generation && l.e.due > now
}

// end does something with a lease that holds, and ends it unless it says so.
func (l *lease) end(then func(now time.Duration) error) error {
	q := l.q
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
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
	return l.end(func(now time.Duration) error {
		l.q.leased.remove(l.e)
		l.e.due = now + l.q.cfg.Lease
		l.q.leased.push(l.e)
		return nil
	})
}

func (l *lease) Retry(_ context.Context, cause error) error {
	return l.end(func(now time.Duration) error {
		e := l.e
		if cause != nil {
			e.cause = cause.Error()
		}
		if int(l.attempt) >= l.q.cfg.Attempts {
			return l.q.kill(e, e.cause, now)
		}
		l.q.leased.remove(e)
		e.generation++
		e.due = now + l.q.cfg.Backoff(int(l.attempt))
		l.q.delayed.push(e)
		return nil
	})
}

func (l *lease) Release(context.Context) error {
	return l.end(func(time.Duration) error {
		l.q.leased.remove(l.e)
		l.e.generation++
		l.e.attempt--
		l.q.ready.unshift(l.e)
		return nil
	})
}

func (l *lease) Kill(_ context.Context, reason string) error {
	return l.end(func(now time.Duration) error { return l.q.kill(l.e, reason, now) })
}
