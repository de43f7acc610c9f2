package procpool

import (
	"context"
	"sync"
	"time"

	"tandem"
	"tandem/internal/wire"
)

// directWait bounds how long a direct caller blocks its thread for the answer before it waits like everybody else.
const directWait = time.Millisecond

// waiter is a caller of Call.
type waiter struct{ ended chan struct{} }

func (w *waiter) Complete([]*tandem.Task) { w.ended <- struct{}{} }

var waiters = sync.Pool{New: func() any { return &waiter{ended: make(chan struct{}, 1)} }}

// Call runs one task and waits for its result, which is in t.Result when err is nil. When ctx ends first the task goes on without its caller.
//
// A lone caller is served without a goroutine switch: it writes the frame and reads the answer itself.
func (p *Pool) Call(ctx context.Context, t *tandem.Task) error {
	me := waiters.Get().(*waiter)
	t.Owner = me
	if w := p.direct(t); w != nil {
		w.callDirect()
	} else {
		one := [1]*tandem.Task{t}
		if _, err := p.Submit(ctx, one[:]); err != nil {
			waiters.Put(me)
			return err
		}
	}
	if ctx.Done() == nil {
		<-me.ended
	} else {
		select {
		case <-me.ended:
		case <-ctx.Done():
			return context.Cause(ctx) // me is not used again: the answer is still to come
		}
	}
	waiters.Put(me)
	return nil
}

// direct takes both roles of an idle worker for the caller, when the caller is alone in the pool.
func (p *Pool) direct(t *tandem.Task) *worker {
	if len(t.Value.Data) > wire.InlineMax {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.ended || p.gaveUp || p.held > 0 {
		return nil
	}
	w := p.best()
	if w == nil || w.writing || w.reading || p.service > windowTime {
		return nil
	}
	w.writing, w.reading = true, true
	var none chores
	if !p.assign(w, t, &none) {
		w.writing, w.reading = false, false
		return nil
	}
	p.held++
	return w
}

// callDirect writes and reads; the answer completes the waiter like any other.
func (w *worker) callDirect() {
	w.flush(false)
	n, err := w.sock.ReadWithin(w.rbuf[w.have:], directWait)
	if err == nil && n > 0 {
		w.have += n
		err = w.handle()
		if err == nil && w.rest1() {
			return
		}
	}
	// Not answered yet, others came, or the channel broke: the reader goes on from here; it sees an error again.
	w.wakeRead <- struct{}{}
	if _, ok := err.(*wire.Fault); ok {
		w.readEnded(err)
	}
}
