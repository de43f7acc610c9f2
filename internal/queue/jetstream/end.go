package jetstream

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"tandem"
)

// pendingAcks are acknowledgements whose confirmations are awaited together.
type pendingAcks struct {
	acks []pendingAck
	left int
	done chan struct{}
}

type pendingAck struct {
	subject string    // where it is told
	at      time.Time // when it is told again
	done    bool
}

const (
	again      = 250 * time.Millisecond // after which an acknowledgement that nobody took is told again: the consumer had no leader
	againQuiet = 2 * time.Second        // and one of which nothing is heard: it may have died with the leader
)

// listen takes the server's confirmations. Each of one Done comes to an address that ends with its number.
func (e *Engine) listen() (err error) {
	e.inbox = e.nc.NewInbox() + "."
	e.acks, err = e.nc.Subscribe(e.inbox+"*", func(m *nats.Msg) {
		name, number, _ := strings.Cut(m.Subject[len(e.inbox):], "-")
		i, err := strconv.Atoi(number)
		e.mu.Lock()
		defer e.mu.Unlock()
		p := e.open[name]
		if p == nil || err != nil || i >= len(p.acks) || p.acks[i].done {
			return
		}
		if m.Header.Get("Status") == noResponders {
			p.acks[i].at = time.Now().Add(again)
			return
		}
		if p.acks[i].done, p.left = true, p.left-1; p.left == 0 {
			delete(e.open, name)
			close(p.done)
		}
	})
	return err
}

// noResponders is the status by which a server says that nobody listens.
const noResponders = "503"

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
	p := &pendingAcks{acks: make([]pendingAck, confirm), left: confirm, done: make(chan struct{})}
	for i, l := range good[len(good)-confirm:] {
		p.acks[i] = pendingAck{subject: l.d.reply, at: time.Now().Add(againQuiet)}
	}
	e.mu.Lock()
	e.serial++
	name := strconv.FormatUint(e.serial, 36)
	e.open[name] = p
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.open, name)
		e.mu.Unlock()
	}()
	for i, l := range good {
		m := &nats.Msg{Subject: l.d.reply, Data: acknowledged}
		if n := i - (len(good) - confirm); n >= 0 {
			m.Reply = e.inbox + name + "-" + strconv.Itoa(n)
		}
		if err := e.nc.PublishMsg(m); err != nil {
			return q.failed("end leases of the queue", err)
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, max(q.cfg.Lease, 5*time.Second), q.failed("end leases of the queue", nats.ErrTimeout))
	defer cancel()
	if err := q.confirmed(ctx, name, p, good[:len(good)-confirm]); err != nil {
		return err
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

// confirmed waits until every acknowledgement is, and tells again those that are not, behind those before that it stands for.
func (q *Queue) confirmed(ctx context.Context, name string, p *pendingAcks, before []*lease) error {
	e := q.e
	tick := time.NewTicker(again)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case now := <-tick.C:
			e.mu.Lock()
			var lost []*nats.Msg
			for i := range p.acks {
				if a := &p.acks[i]; !a.done && now.After(a.at) {
					a.at = now.Add(againQuiet)
					lost = append(lost, &nats.Msg{Subject: a.subject, Reply: e.inbox + name + "-" + strconv.Itoa(i), Data: acknowledged})
				}
			}
			e.mu.Unlock()
			if len(lost) > 0 {
				for _, l := range before {
					if err := e.nc.PublishMsg(&nats.Msg{Subject: l.d.reply, Data: acknowledged}); err != nil {
						return q.failed("end leases of the queue", err)
					}
				}
			}
			for _, m := range lost {
				if err := e.nc.PublishMsg(m); err != nil {
					return q.failed("end leases of the queue", err)
				}
			}
		}
	}
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
