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

// fate is what became of a batch.
type fate int

const (
	stored fate = iota
	noRoom      // for all of it; nothing is stored
	denied      // for another reason, as that one of the IDs is known; nothing is stored
)

// publishAtomic sends messages in batches that the server stores whole, with one sync each, and returns those for which there was no room. A batch that is refused
// otherwise goes one by one, so that each has its own answer.
func (q *Queue) publishAtomic(ctx context.Context, todo []*nats.Msg) (rest []*nats.Msg, err error) {
	for len(todo) > 0 {
		some := few(todo)
		what := denied
		if len(some) > 1 {
			if what, err = q.batch(ctx, some); err != nil {
				return nil, err
			}
		}
		switch what {
		case noRoom:
			return todo, nil
		case denied:
			left, err := q.publishMany(ctx, some)
			if err != nil {
				return nil, err
			}
			if len(left) > 0 {
				return append(left, todo[len(some):]...), nil
			}
		}
		todo = todo[len(some):]
	}
	return nil, nil
}

// batch sends one batch and tells what became of it.
func (q *Queue) batch(ctx context.Context, some []*nats.Msg) (fate, error) {
	id := nuid.Next()
	words := []string{id, "1"}
	for i, m := range some {
		n := &nats.Msg{Subject: m.Subject, Data: m.Data, Header: make(nats.Header, len(m.Header)+3)}
		for k, v := range m.Header {
			n.Header[k] = v
		}
		n.Header["Nats-Batch-Id"] = words[:1:1]
		n.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(i + 1)}
		if i < len(some)-1 {
			if err := q.e.nc.PublishMsg(n); err != nil {
				return 0, err
			}
			continue
		}
		n.Header["Nats-Batch-Commit"] = words[1:]
		within, cancel := context.WithTimeout(ctx, 10*time.Second)
		reply, err := q.e.nc.RequestMsgWithContext(within, n)
		cancel()
		if err != nil {
			return 0, err
		}
		var answer struct {
			Error *jetstream.APIError `json:"error"`
			Count int                 `json:"count"`
		}
		if err := json.Unmarshal(reply.Data, &answer); err != nil {
			return 0, err
		}
		switch {
		case answer.Error == nil && answer.Count == len(some):
			return stored, nil
		case answer.Error != nil && isFull(answer.Error):
			return noRoom, nil
		}
	}
	return denied, nil
}

// purger drops what is done at level power. There the stream keeps acknowledged messages, because deleting one by one would sync each time; everything up to
// the oldest that is not acknowledged goes at once, every 50 ms. So a long task holds the places of those that were done after it.
//
// A purge of a whole consumer makes the server forget what it was about to hand out again (seen with 2.15): such a message would come another lease later. It tells
// a consumer of a purge when the subject of one of them holds that of the other. Here neither does: the consumer reads *.0, the purge removes go.*, and every message has
// the subject go.0, that is in both.
type purger struct {
	ask  chan struct{}
	done sync.WaitGroup
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
			if floor := q.floor(); floor > last && q.work.Purge(q.ctx, jetstream.WithPurgeSubject(q.name+".go.*"), jetstream.WithPurgeSequence(floor+1)) == nil {
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
