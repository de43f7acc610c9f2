package engine

import (
	"context"
	"slices"
	"sync"

	"tandem"
)

// ahead is how many items may be read beyond the oldest that has not ended when a flow keeps its order: what ended early waits in memory.
const ahead = 8192

// aheadBytes bounds the values of those that wait.
const aheadBytes = 64 << 20

// order brings outcomes back into the order of the source. The source's goroutine calls admit, the sink's everything else.
type order struct {
	mu    sync.Mutex
	moved sync.Cond
	next  int64 // the item whose outcomes are due
	bytes int64 // of values that wait
	held  map[int64]*origin
}

func newOrder() *order {
	o := &order{held: map[int64]*origin{}}
	o.moved.L = &o.mu
	return o
}

// admit waits until item seq may be read. It is false when ctx is done.
func (o *order) admit(ctx context.Context, seq int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	full := func() bool { return seq > o.next && (seq-o.next >= ahead || o.bytes > aheadBytes) }
	if !full() {
		return true
	}
	stop := context.AfterFunc(ctx, func() {
		o.mu.Lock()
		o.moved.Broadcast()
		o.mu.Unlock()
	})
	defer stop()
	for full() && ctx.Err() == nil {
		o.moved.Wait()
	}
	return ctx.Err() == nil
}

// line takes tasks that have ended and gives those whose turn it is, in order.
func (o *order) line(ended []*tandem.Task, due []*tandem.Task) []*tandem.Task {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, t := range ended {
		of := t.Ref.(*unit).origin
		of.ended = append(of.ended, t)
		o.bytes += t.Result.Value.Size()
		if of.live.Load() == 0 {
			o.held[of.seq] = of
		}
	}
	for of := o.held[o.next]; of != nil; of = o.held[o.next] {
		delete(o.held, o.next)
		o.next++
		slices.SortFunc(of.ended, func(a, b *tandem.Task) int { return slices.Compare(a.Ref.(*unit).path, b.Ref.(*unit).path) })
		for _, t := range of.ended {
			o.bytes -= t.Result.Value.Size()
		}
		due = append(due, of.ended...)
		of.ended = nil
	}
	o.moved.Broadcast()
	return due
}
