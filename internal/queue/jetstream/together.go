package jetstream

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go"
)

// together sends what several Puts bring at the same time as one batch: a sync of the disk takes as long for many messages as for one. While one batch is under way
// the next gathers.
type together struct {
	q       *Queue
	mu      sync.Mutex
	waiting []*part
	wake    chan struct{}
	done    sync.WaitGroup
}

// part is what one Put brings.
type part struct {
	ctx  context.Context
	todo []*nats.Msg
	end  chan ended
}

type ended struct {
	rest []*nats.Msg
	err  error
}

func (t *together) start(q *Queue) {
	t.q, t.wake = q, make(chan struct{}, 1)
	t.done.Go(func() {
		for {
			select {
			case <-t.wake:
			case <-q.ctx.Done():
				return
			}
			t.mu.Lock()
			parts := t.waiting
			t.waiting = nil
			t.mu.Unlock()
			for len(parts) > 0 {
				n := fitting(parts)
				t.send(parts[:n])
				parts = parts[n:]
			}
		}
	})
}

func (t *together) wait() { t.done.Wait() }

// publish returns those messages for which there was no room.
func (t *together) publish(ctx context.Context, todo []*nats.Msg) (rest []*nats.Msg, err error) {
	p := &part{ctx, todo, make(chan ended, 1)}
	t.mu.Lock()
	t.waiting = append(t.waiting, p)
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
	select {
	case e := <-p.end:
		return e.rest, e.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-t.q.ctx.Done():
		return nil, context.Cause(t.q.ctx)
	}
}

// fitting is how many of the parts go into one batch: the first always, whatever its size.
func fitting(parts []*part) int {
	messages, bytes := 0, 0
	for i, p := range parts {
		messages += len(p.todo)
		for _, m := range p.todo {
			bytes += len(m.Data)
		}
		if i > 0 && (messages > lot || bytes > payload) {
			return i
		}
	}
	return len(parts)
}

// send sends the parts as one batch, and where that is refused each for itself.
func (t *together) send(parts []*part) {
	if len(parts) > 1 {
		var all []*nats.Msg
		for _, p := range parts {
			all = append(all, p.todo...)
		}
		if what, err := t.q.batch(t.q.ctx, all); err != nil || what == stored {
			for _, p := range parts {
				p.end <- ended{nil, err}
			}
			return
		}
	}
	for _, p := range parts {
		if p.ctx.Err() != nil {
			continue // it has gone, and knows nothing
		}
		rest, err := t.q.publishAtomic(p.ctx, p.todo)
		p.end <- ended{rest, err}
	}
}
