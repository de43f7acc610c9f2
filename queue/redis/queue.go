package redis

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	client "github.com/redis/go-redis/v9"

	"tandem"
	"tandem/internal/queue"
)

// Queue is a tandem.Queue on Redis.
type Queue struct {
	e    *Engine
	cfg  tandem.QueueConfig
	bell *client.PubSub
	name string // of unnamed messages, with a serial behind it
	last atomic.Uint64

	ctx     context.Context
	stop    context.CancelCauseFunc
	ringing sync.WaitGroup
	mu      sync.Mutex
	more    chan struct{} // closed when something may be ready
	room    chan struct{} // closed when there may be room
}

var nameRule = regexp.MustCompile(`^[A-Za-z0-9_-]{1,200}$`)

// Open opens a queue, and makes it when there is none.
func (e *Engine) Open(ctx context.Context, cfg tandem.QueueConfig) (*Queue, error) {
	cfg = queue.WithDefaults(cfg)
	if !nameRule.MatchString(cfg.Name) {
		return nil, &tandem.Error{Op: "open the queue", On: cfg.Name, Kind: tandem.KindInvalid, Message: "a queue's name is made of letters, digits, - and _"}
	}
	q := &Queue{e: e, cfg: cfg, more: make(chan struct{}), room: make(chan struct{})}
	want := fmt.Sprintf("%d messages, %d bytes, ordered %v", cfg.Items, cfg.Bytes, cfg.Ordered)
	is, err := opened.Run(ctx, e.c, q.keys(), want).Slice()
	if err != nil {
		return nil, q.failed("open", err)
	}
	if made := is[0].(string); made != want {
		return nil, &tandem.Error{Op: "open the queue", On: cfg.Name, Kind: tandem.KindInvalid, Message: "it was made with " + made + ", and " + want + " is wanted",
			Hint: "give the queue another name, or remove that one"}
	}
	q.name = fmt.Sprintf("u%x-", is[1])
	q.ctx, q.stop = context.WithCancelCause(context.Background())
	q.bell = e.c.Subscribe(ctx, prefix(cfg.Name)+"bell")
	if _, err := q.bell.Receive(ctx); err != nil { // from here on no ring is missed
		q.stop(nil)
		_ = q.bell.Close()
		return nil, q.failed("listen to", err)
	}
	q.ringing.Go(q.listen)
	return q, nil
}

func (q *Queue) keys() []string { return []string{prefix(q.cfg.Name)} }

// listen passes the server's rings on until the queue is closed. After a lost connection it wakes everyone: a ring may have been missed.
func (q *Queue) listen() {
	for q.ctx.Err() == nil {
		m, err := q.bell.ReceiveMessage(q.ctx)
		if err != nil {
			q.ring(true, true)
			select {
			case <-q.ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		q.ring(m.Payload == "more", m.Payload == "room")
	}
}

func (q *Queue) ring(more, room bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if more {
		close(q.more)
		q.more = make(chan struct{})
	}
	if room {
		close(q.room)
		q.room = make(chan struct{})
	}
}

// bells are closed at the next ring. They are fetched before the server is asked, so that nothing falls in between.
func (q *Queue) bells() (more, room <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.more, q.room
}

// rest waits for a ring, and no longer than most.
func (q *Queue) rest(ctx context.Context, ring <-chan struct{}, most time.Duration) error {
	timer := time.NewTimer(min(most, time.Second))
	defer timer.Stop()
	select {
	case <-ring:
	case <-timer.C:
	case <-q.ctx.Done():
	case <-ctx.Done():
	}
	return q.over(ctx)
}

// over says why nothing more is to be done.
func (q *Queue) over(ctx context.Context) error {
	if q.ctx.Err() != nil {
		return tandem.ErrClosed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Close is tandem.Queue's. The engine stays.
func (q *Queue) Close() error {
	if q.ctx.Err() != nil {
		return nil
	}
	q.stop(tandem.ErrClosed)
	err := q.bell.Close()
	q.ringing.Wait()
	return err
}

// Stats is tandem.Queue's.
func (q *Queue) Stats(ctx context.Context) (s tandem.QueueStats, err error) {
	n, err := stats.Run(ctx, q.e.c, q.keys(), q.cfg.Attempts, tandem.MaxDead).Int64Slice()
	if err != nil {
		return s, q.failed("look at", err)
	}
	return tandem.QueueStats{Ready: int(n[0]), Delayed: int(n[1]), Leased: int(n[2]), Dead: int(n[3]), Bytes: n[4], Oldest: time.Duration(n[5]) * time.Millisecond}, nil
}

func (q *Queue) unnamed() string { return q.name + strconv.FormatUint(q.last.Add(1), 36) }

var _ tandem.Queue = (*Queue)(nil)
