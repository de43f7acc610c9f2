package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tandem"
)

// lease is one delivery.
type lease struct {
	q        *Queue
	d        delivery
	message  tandem.Message
	attempt  int
	sequence uint64
	until    atomic.Int64 // the deadline; who renews the lease and who ends it may be two
	note     note
}

// note is what is remembered about a message between deliveries.
type note struct {
	Free  int    `json:"free,omitempty"`  // deliveries that were no attempt
	Cause string `json:"cause,omitempty"` // of the last failure
}

func (l *lease) Message() *tandem.Message { return &l.message }
func (l *lease) Attempt() int             { return l.attempt }

// Take is tandem.Queue's.
func (q *Queue) Take(ctx context.Context, most int) ([]tandem.Lease, error) {
	ctx, cancel := q.with(ctx)
	defer cancel()
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		var out []tandem.Lease
		err := errBusy
		if !q.cfg.Ordered {
			out, err = q.pull(ctx, most, patience(ctx))
		}
		alone := !errors.Is(err, errBusy)
		if !alone {
			if out, err = q.sweep(ctx, most); len(out) > 0 {
				return out, q.failed("take from the queue", err)
			}
			if err == nil {
				out, err = q.await(ctx)
			}
		}
		if len(out) == 0 && err == nil {
			continue
		}
		if len(out) == 0 && err != nil && ctx.Err() == nil {
			return nil, q.failed("take from the queue", err)
		}
		if ctx.Err() != nil { // the caller has gone: others may have it
			for _, l := range out {
				_ = l.Release(context.Background())
			}
			return nil, context.Cause(ctx)
		}
		if !alone && most > 1 {
			more, _ := q.sweep(ctx, most-1)
			out = append(out, more...)
		}
		return out, nil
	}
}

// sweep takes what is there, without waiting.
func (q *Queue) sweep(ctx context.Context, most int) (out []tandem.Lease, err error) {
	start := q.next()
	for i := range q.from {
		if len(out) >= most {
			break
		}
		n := most - len(out)
		if q.cfg.Ordered {
			n = 1 // more than one at a time there is not, and who asks for more waits for it
		}
		b, err := q.from[(start+i)%len(q.from)].FetchNoWait(n)
		if err != nil {
			return out, err
		}
		if out, err = q.collect(ctx, b, out); err != nil {
			return out, err
		}
	}
	return out, nil
}

// await waits for one message. It asks for one only, and for no longer than a second: what nobody waits for any more would be kept from others.
func (q *Queue) await(ctx context.Context) ([]tandem.Lease, error) {
	wait := patience(ctx)
	if len(q.from) > 1 { // the partitions take turns, a short while each
		wait = min(wait, 20*time.Millisecond)
	}
	b, err := q.from[q.next()].Fetch(1, jetstream.FetchMaxWait(wait))
	if err != nil {
		return nil, err
	}
	return q.collect(ctx, b, nil)
}

// patience is how long one question may wait: a second, or until the deadline.
func patience(ctx context.Context) time.Duration {
	if at, ok := ctx.Deadline(); ok {
		return max(10*time.Millisecond, min(time.Second, time.Until(at)))
	}
	return time.Second
}

func (q *Queue) next() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.turn++
	return q.turn % len(q.from)
}

func (q *Queue) collect(ctx context.Context, b jetstream.MessageBatch, out []tandem.Lease) ([]tandem.Lease, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second) // what has been delivered is ours, also when the caller has gone
	defer cancel()
	var failed error
	for m := range b.Messages() {
		d, err := fromMessage(m)
		if err != nil {
			return out, err
		}
		l, err := q.lease(ctx, d)
		if err != nil {
			failed = err // this one comes again when its time is up
		} else if l != nil {
			out = append(out, l)
		}
	}
	if failed != nil {
		return out, failed
	}
	err := b.Error()
	if errors.Is(err, nats.ErrTimeout) || errors.Is(err, jetstream.ErrNoMessages) || errors.Is(err, jetstream.ErrNoHeartbeat) {
		err = nil
	}
	return out, err
}

// lease makes a lease of a delivery. It is nil when the message is not to be handed out: before its time, or after its attempts.
func (q *Queue) lease(ctx context.Context, d delivery) (l *lease, err error) {
	head := d.head
	if wait := due(head); wait > 0 {
		return nil, q.later(d, wait)
	}
	l = &lease{q: q, d: d, sequence: d.sequence, message: decode(head, d.body), attempt: d.count}
	if l.message.ID == "" {
		l.message.ID = unnamed(d.sequence, d.stored)
	}
	l.until.Store(q.deadline().UnixNano())
	if l.attempt > 1 {
		// The delivery has been made: a taker that gives up now must not leave it to its deadline.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if l.note, err = q.noted(ctx, l.sequence); err != nil {
			return nil, err
		}
		free := l.note.Free
		if head.Get(headDue) != "" { // its first delivery came before its time
			free++
		}
		l.attempt = max(1, l.attempt-free)
	}
	if l.attempt > q.cfg.Attempts {
		l.attempt--
		reason := "every holder let its lease lapse"
		if l.note.Cause != "" {
			reason = l.note.Cause + "; and the last holder let its lease lapse"
		}
		if err := l.bury(ctx, reason); err != nil {
			_ = q.later(d, q.cfg.Lease)
		}
		return nil, nil
	}
	return l, nil
}

// due is how long a message is not to be handed out yet.
func due(head nats.Header) time.Duration {
	text := head.Get(headDue)
	if text == "" {
		return 0
	}
	at, _ := strconv.ParseInt(text, 10, 64)
	return time.Until(time.Unix(0, at))
}

// later gives a delivery back, to be made again after a while.
func (q *Queue) later(d delivery, wait time.Duration) error {
	return q.e.nc.Publish(d.reply, fmt.Appendf(nil, `-NAK {"delay": %d}`, wait.Nanoseconds()))
}

// deadline of a lease that begins now. It is over for us a little before it is for the server, whose clock began when it sent the message: a tenth of the
// lease, at most 0.1 s.
func (q *Queue) deadline() time.Time {
	return time.Now().Add(q.cfg.Lease - min(q.cfg.Lease/10, 100*time.Millisecond))
}

func decode(head nats.Header, body []byte) tandem.Message {
	m := tandem.Message{Body: body}
	if len(head) == 0 {
		return m
	}
	if m.ID = head.Get(headID); m.ID == "" {
		m.ID = head.Get(nats.MsgIdHdr)
	}
	m.Key = head.Get(headKey)
	if due, _ := strconv.ParseInt(head.Get(headDue), 10, 64); due != 0 {
		m.NotBefore = time.Unix(0, due)
	}
	for k, v := range head {
		if name, ok := strings.CutPrefix(k, headUser); ok && len(v) > 0 {
			if m.Header == nil {
				m.Header = map[string]string{}
			}
			m.Header[name] = v[0]
		}
	}
	return m
}

// noted is what an earlier holder left for the next.
func (q *Queue) noted(ctx context.Context, sequence uint64) (n note, err error) {
	m, err := ask(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return q.notes.GetLastMsgForSubject(ctx, q.noteOf(sequence))
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return n, nil
	}
	if err != nil {
		return n, err
	}
	return n, json.Unmarshal(m.Data, &n)
}

func (q *Queue) noteOf(sequence uint64) string {
	return q.name + ".note." + strconv.FormatUint(sequence, 10)
}

func (l *lease) leave(ctx context.Context) error {
	b, err := json.Marshal(l.note)
	if err != nil {
		return err
	}
	_, err = ask(ctx, func(ctx context.Context) (*jetstream.PubAck, error) {
		return l.q.e.js.Publish(ctx, l.q.noteOf(l.sequence), b)
	})
	return err
}
