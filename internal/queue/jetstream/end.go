package jetstream

import (
	"context"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"tandem"
)

// pendingAcks are acknowledgements whose confirmations are awaited together.
type pendingAcks struct {
	left int
	done chan struct{}
}

// listen takes the server's confirmations. All of one Done come to one address, and are counted.
func (e *Engine) listen() (err error) {
	e.inbox = e.nc.NewInbox()
	e.acks, err = e.nc.Subscribe(e.inbox+".*", func(m *nats.Msg) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if p := e.open[m.Subject]; p != nil {
			if p.left--; p.left == 0 {
				delete(e.open, m.Subject)
				close(p.done)
			}
		}
	})
	return err
}

// Done is tandem.Queue's: all acknowledgements go out at once, and it returns when the server has confirmed each.
func (q *Queue) Done(ctx context.Context, leases ...tandem.Lease) error {
	var lost error
	good := make([]*lease, 0, len(leases))
	now := time.Now().UnixNano()
	for _, t := range leases {
		if l, ok := t.(*lease); ok && l.q == q && now < l.until.Load() {
			good = append(good, l)
			continue
		}
		lost = tandem.ErrLost
	}
	if len(good) == 0 {
		return lost
	}
	if err := q.ack(ctx, good); err != nil {
		return err
	}
	return lost
}

var acknowledged = []byte("+ACK")

func (q *Queue) ack(ctx context.Context, good []*lease) error {
	e := q.e
	// The server inside takes what this connection says in order, so the last confirmation is one for all. Elsewhere a connection may break or another leader take
	// over in between, and then the first may be lost and the last not.
	confirm := len(good)
	if e.settle != nil {
		confirm = 1
	}
	p := &pendingAcks{left: confirm, done: make(chan struct{})}
	e.mu.Lock()
	e.serial++
	address := e.inbox + "." + strconv.FormatUint(e.serial, 36)
	e.open[address] = p
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.open, address)
		e.mu.Unlock()
	}()
	for i, l := range good {
		m := &nats.Msg{Subject: l.d.reply, Data: acknowledged}
		if i >= len(good)-confirm {
			m.Reply = address
		}
		if err := e.nc.PublishMsg(m); err != nil {
			return q.failed("end leases of the queue", err)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, max(q.cfg.Lease, 5*time.Second), q.failed("end leases of the queue", nats.ErrTimeout))
	defer cancel()
	select {
	case <-p.done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !q.purges() {
		q.room.freed(len(good), q.cfg.Items)
	}
	for _, l := range good {
		l.until.Store(0)
		if l.note != (note{}) {
			_ = q.notes.Purge(ctx, purgeSubject(q.noteOf(l.sequence))) // else its age removes it
		}
	}
	return nil
}

// open tells whether the lease is not known to be over.
func (l *lease) open() error {
	if time.Now().UnixNano() >= l.until.Load() {
		return tandem.ErrLost
	}
	return nil
}

func (l *lease) Extend(context.Context) error {
	if err := l.open(); err != nil {
		return err
	}
	if err := l.q.e.nc.Publish(l.d.reply, []byte("+WPI")); err != nil {
		return l.q.failed("extend a lease of the queue", err)
	}
	l.until.Store(l.q.deadline().UnixNano())
	return nil
}

func (l *lease) Retry(ctx context.Context, cause error) error {
	if err := l.open(); err != nil {
		return err
	}
	if cause != nil {
		l.note.Cause = cause.Error()
	}
	if l.attempt >= l.q.cfg.Attempts {
		return l.Kill(ctx, l.note.Cause)
	}
	if cause != nil {
		if err := l.leave(ctx); err != nil {
			return l.q.failed("put back into the queue", err)
		}
	}
	l.until.Store(0)
	return l.q.failed("put back into the queue", l.q.later(l.d, max(l.q.cfg.Backoff(l.attempt), time.Millisecond)))
}

func (l *lease) Release(ctx context.Context) error {
	if err := l.open(); err != nil {
		return err
	}
	l.note.Free++
	if err := l.leave(ctx); err != nil {
		return l.q.failed("put back into the queue", err)
	}
	l.until.Store(0)
	return l.q.failed("put back into the queue", l.q.e.nc.Publish(l.d.reply, []byte("-NAK")))
}

func (l *lease) Kill(ctx context.Context, reason string) error {
	if err := l.open(); err != nil {
		return err
	}
	return l.bury(ctx, reason)
}
