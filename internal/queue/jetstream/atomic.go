package jetstream

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// lot is how many messages the server takes in one atomic batch, and syncs once.
const lot = 256

// publishAtomic sends messages in batches that the server stores whole, with one sync each. A batch that it refuses (one of the IDs is known, no room for all)
// goes one by one, so that each has its own answer.
func (q *Queue) publishAtomic(ctx context.Context, todo []*nats.Msg) (rest []*nats.Msg, err error) {
	for len(todo) > 0 {
		n := min(lot, len(todo))
		some := todo[:n]
		todo = todo[n:]
		ok, err := q.batch(ctx, some)
		if err != nil {
			return nil, err
		}
		if ok {
			continue
		}
		left, err := q.publishMany(ctx, some)
		if err != nil {
			return nil, err
		}
		if len(left) > 0 {
			return append(left, todo...), nil
		}
	}
	return nil, nil
}

// batch sends one batch and tells whether the server has stored it.
func (q *Queue) batch(ctx context.Context, some []*nats.Msg) (bool, error) {
	id := nuid.Next()
	for i, m := range some {
		n := nats.NewMsg(m.Subject)
		n.Data = m.Data
		for k, v := range m.Header {
			n.Header[k] = v
		}
		n.Header.Set("Nats-Batch-Id", id)
		n.Header.Set("Nats-Batch-Sequence", strconv.Itoa(i+1))
		if i < len(some)-1 {
			if err := q.e.nc.PublishMsg(n); err != nil {
				return false, err
			}
			continue
		}
		n.Header.Set("Nats-Batch-Commit", "1")
		within, cancel := context.WithTimeout(ctx, 10*time.Second)
		reply, err := q.e.nc.RequestMsgWithContext(within, n)
		cancel()
		if err != nil {
			return false, err
		}
		var answer struct {
			Error *jetstream.APIError `json:"error"`
			Count int                 `json:"count"`
		}
		if err := json.Unmarshal(reply.Data, &answer); err != nil {
			return false, err
		}
		return answer.Error == nil && answer.Count == len(some), nil
	}
	return true, nil
}

// purger drops what is done at level power. There the stream keeps acknowledged messages, because deleting one by one would sync each time; everything up to
// the oldest that is not acknowledged goes at once, every 50 ms. So a long task holds the places of those that were done after it.
//
// A purge makes the server forget what it was about to hand out again (seen with 2.15): such a message comes another lease later. So there is none for a
// moment after a Release of this process. One of another process may be met by it.
type purger struct {
	ask      chan struct{}
	done     sync.WaitGroup
	mu       sync.Mutex // held during a purge
	released time.Time  // the last in this process
}

// pause waits for a purge that is under way, and puts off the next.
func (p *purger) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.released = time.Now()
}

// run purges up to floor unless a release was a moment ago.
func (p *purger) run(q *Queue, floor uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.released) > 100*time.Millisecond && q.work.Purge(q.ctx, jetstream.WithPurgeSequence(floor+1)) == nil
}

func (p *purger) start(q *Queue) {
	p.ask = make(chan struct{}, 1)
	p.done.Go(func() {
		last := q.work.CachedInfo().State.FirstSeq
		if last > 0 {
			last--
		}
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-p.ask:
			case <-q.ctx.Done():
				return
			}
			if floor := q.floor(); floor > last && p.run(q, floor) {
				q.room.freed(int(floor-last), q.cfg.Items)
				last = floor
			}
		}
	})
}

// floor is the sequence up to which everything is acknowledged.
func (q *Queue) floor() uint64 {
	info, err := q.from[0].Info(q.ctx)
	if err != nil {
		return 0
	}
	return info.AckFloor.Stream
}

func (p *purger) now() {
	if p.ask == nil {
		return
	}
	select {
	case p.ask <- struct{}{}:
	default:
	}
}

func (p *purger) wait() { p.done.Wait() }
