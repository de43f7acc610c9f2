// Package handover is the bounded hand-over between two steps of one run, in memory.
//
// Promises:
//
//   - Put blocks while the queue is full (items or bytes) and returns how many tasks are in: all of them, or fewer with the cause of ctx or ErrClosed. A
//     task larger than the whole byte bound is let in alone, so that nothing waits for ever.
//   - Take blocks while the queue is empty and returns how many tasks it placed in buf: the oldest, in order. After Close it hands out what is left and
//     then fails with ErrClosed. Both are safe for many callers.
//   - Put and Take of one task cost one uncontended mutex, about 50 ns; nothing is allocated per task. A queue owns no goroutine.
//   - What it holds is lost with the process; the run's journal, not the queue, is what survives. Work that outlives its process is in a [tandem.Queue].
package handover

import (
	"cmp"
	"context"
	"sync"

	"tandem"
)

// Bounds of a queue.
type Bounds struct {
	Items int   // zero means 1024
	Bytes int64 // of the tasks' values; zero means 64 MiB
}

// Queue holds tasks between two steps. Make one with New.
type Queue struct {
	bounds Bounds

	mu      sync.Mutex
	notFull sync.Cond
	filled  sync.Cond
	putters int // waiting in notFull
	takers  int // waiting in filled
	ring    []*tandem.Task
	head, n int
	bytes   int64
	closed  bool
}

// New makes an empty queue.
func New(b Bounds) *Queue {
	b.Items = cmp.Or(b.Items, 1024)
	b.Bytes = cmp.Or(b.Bytes, 64<<20)
	q := &Queue{bounds: b, ring: make([]*tandem.Task, min(b.Items, 1024))}
	q.notFull.L, q.filled.L = &q.mu, &q.mu
	return q
}

// Size is what a task counts against the byte bound.
func Size(t *tandem.Task) int64 {
	n := t.Size() + 64
	if len(t.Source.Data) > 0 && (len(t.Value.Data) == 0 || &t.Source.Data[0] != &t.Value.Data[0]) {
		n += int64(len(t.Source.Data))
	}
	return n
}

// Put adds tasks.
func (q *Queue) Put(ctx context.Context, tasks []*tandem.Task) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, t := range tasks {
		size := Size(t)
		for !q.closed && q.n > 0 && (q.n >= q.bounds.Items || q.bytes+size > q.bounds.Bytes) {
			if err := q.wait(ctx, &q.notFull, &q.putters); err != nil {
				return i, err
			}
		}
		if q.closed {
			return i, tandem.ErrClosed
		}
		if q.n == len(q.ring) {
			q.grow()
		}
		q.ring[(q.head+q.n)%len(q.ring)] = t
		q.n++
		q.bytes += size
		if q.takers > 0 {
			q.filled.Signal()
		}
	}
	return len(tasks), nil
}

// Take takes the oldest tasks.
func (q *Queue) Take(ctx context.Context, buf []*tandem.Task) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.n == 0 {
		if q.closed {
			return 0, tandem.ErrClosed
		}
		if err := q.wait(ctx, &q.filled, &q.takers); err != nil {
			return 0, err
		}
	}
	n := min(len(buf), q.n)
	for i := range n {
		t := q.ring[q.head]
		q.ring[q.head] = nil
		q.head = (q.head + 1) % len(q.ring)
		q.bytes -= Size(t)
		buf[i] = t
	}
	q.n -= n
	// Wake the senders when half is free, not for every place: they come with many.
	if q.putters > 0 && q.n <= q.bounds.Items/2 && (q.bytes <= q.bounds.Bytes/2 || q.n == 0) {
		q.notFull.Broadcast()
	}
	return n, nil
}

// wait waits on c once, or until ctx is done.
func (q *Queue) wait(ctx context.Context, c *sync.Cond, waiting *int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	stop := context.AfterFunc(ctx, func() {
		q.mu.Lock()
		c.Broadcast()
		q.mu.Unlock()
	})
	*waiting++
	c.Wait()
	*waiting--
	stop()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (q *Queue) grow() {
	bigger := make([]*tandem.Task, min(2*len(q.ring), q.bounds.Items))
	for i := range q.n {
		bigger[i] = q.ring[(q.head+i)%len(q.ring)]
	}
	q.ring, q.head = bigger, 0
}

// Close says that no task will follow.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.notFull.Broadcast()
	q.filled.Broadcast()
}

// Len is what the queue holds.
func (q *Queue) Len() (items int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.n, q.bytes
}
